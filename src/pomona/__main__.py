"""`python -m pomona`."""

from pomona.commands.main import main

if __name__ == "__main__":
    main()
