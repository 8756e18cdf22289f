"""The only reader of the environment (`settings`, `values`), and of files that may change (`live_file`)."""

from pdm_service.settings.settings import Settings, SettingsError, read

__all__ = ["Settings", "SettingsError", "read"]
