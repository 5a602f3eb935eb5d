from django.apps import AppConfig


class GameOfLifeConfig(AppConfig):
    name = "django_project.gameoflife"
    verbose_name = "Game of Life"
