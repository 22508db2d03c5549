"""`python -m scheduledjobs`."""

from scheduledjobs.cli.main import main

if __name__ == "__main__":
    main()
