"""The command line."""


def main() -> None:
    """Run the command line."""
    from calbatch.cluster.cli import app

    app.main()
