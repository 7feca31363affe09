"""`python -m tritorch` is the command `tritorch`."""

from tritorch.cli.main import main

if __name__ == "__main__":
    main()
