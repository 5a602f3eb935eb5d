"""The application, which joins the cluster's games when it is loaded."""

from django.apps import AppConfig


class GameOfLifeConfig(AppConfig):
    """Registered in INSTALLED_APPS by its dotted path or by the package's name."""

    name = "django_project.gameoflife"
    verbose_name = "Game of Life"

    def ready(self) -> None:
        from django_project.gameoflife import game

        game.join()
