"""`padseg app`."""

import argparse

from padseg.commands.arguments import Subparsers, add_checkpoint
from padseg.commands.prediction import add_scoring, predictor


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "app",
        help="find defects in a window of the browser",
        description=(
            "Opens a window in the browser: drop images or use the camera, see verdict, score, score map "
            "and regions, and move the threshold. Nothing leaves this machine, and nothing is kept. It "
            "needs Gradio: python -m pip install 'padseg[app]'."
        ),
    )
    add_checkpoint(parser)
    add_scoring(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; 0.0.0.0 lets everyone in the network in (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--port", type=int, help="port to listen at (default: the first free one from 7860 on)"
    )
    parser.add_argument("--open", action="store_true", help="open the browser, too")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> None:
    """Run the command."""
    from padseg.app import require_gradio, serve

    require_gradio()
    serve(
        predictor(options),
        options.checkpoint,
        host=options.host,
        port=options.port,
        open_browser=options.open,
    )
