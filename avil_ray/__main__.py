"""`python -m avil_ray`: the command line."""

from avil_ray.cli import main

if __name__ == "__main__":
    main()
