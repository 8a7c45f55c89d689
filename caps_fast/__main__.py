"""`python -m caps_fast` is `caps-fast`."""

from caps_fast.cli import main

if __name__ == "__main__":
    main()
