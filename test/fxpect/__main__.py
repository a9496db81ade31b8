"""``python -m fxpect`` is the command ``fxpect``."""

from fxpect.commands.main import main

if __name__ == "__main__":
    raise SystemExit(main())
