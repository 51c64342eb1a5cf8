"""The service: ingest, store, settlement, billing, rollout, web."""
