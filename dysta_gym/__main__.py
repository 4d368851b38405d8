"""The command line as ``python -m dysta_gym``."""

from dysta_gym_start import main

if __name__ == "__main__":
    main()
