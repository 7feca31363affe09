"""The command `tritorch`, also as `python -m tritorch`: what ends it while it loads is one line.

So nothing is imported here before that is so: an import may be interrupted, or find a setting in
the environment that cannot be read.
"""

import sys


def main() -> None:
    """Load the command line and run it."""
    try:
        from tritorch.cli.main import main
    except KeyboardInterrupt:
        print("tritorch: interrupted.", file=sys.stderr)
        sys.exit(130)
    except ValueError as error:
        from tritorch.errors import ConfigError

        if not isinstance(error, ConfigError):
            raise
        print(f"tritorch: {error}", file=sys.stderr)
        sys.exit(1)
    main()


if __name__ == "__main__":
    main()
