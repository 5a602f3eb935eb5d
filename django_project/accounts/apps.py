from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Registered in INSTALLED_APPS by the package's name."""

    name = "django_project.accounts"
    verbose_name = "Accounts"
