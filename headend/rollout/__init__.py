"""The one-meter-per-household rollout: steps that close on evidence and change what hangs where."""
