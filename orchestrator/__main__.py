"""``python -m orchestrator`` does what the ``orchestrator`` command does."""

from orchestrator.cli import main

if __name__ == "__main__":
    main()
