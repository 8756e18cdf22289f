"""`python -m pdm_service` is `pdm`."""

from pdm_service.cli import main

main()
