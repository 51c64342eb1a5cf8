"""See `run.py`."""

from support.chaos.run import main

if __name__ == "__main__":
    main()
