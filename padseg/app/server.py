"""The server behind the window: on this machine only, unless asked otherwise, and without telemetry."""

import os
import socket
import tempfile
from importlib.util import find_spec
from pathlib import Path

from padseg.app.markup import CSS
from padseg.errors import ConfigError
from padseg.inference import Predictor
from padseg.inference.verdicts import warn_of_verdicts
from padseg.machine.console import say
from padseg.machine.signals import stop_signals

_LOCAL = ("127.0.0.1", "localhost")


def require_gradio() -> None:
    """Make sure that the extra is installed.

    Raises:
        ConfigError: It is not.
    """
    if find_spec("gradio") is None:
        raise ConfigError("padseg app needs Gradio: python -m pip install 'padseg[app]'.")


def serve(
    predictor: Predictor,
    checkpoint: Path,
    *,
    host: str = _LOCAL[0],
    port: int | None = None,
    open_browser: bool = False,
) -> None:
    """Show the window until Ctrl-C or SIGTERM.

    Args:
        predictor: Scores the images.
        checkpoint: Its file, for the title.
        host: Address to listen at.
        port: Port to listen at; None for the first free one from 7860 on.
        open_browser: Whether to open the browser.

    Raises:
        ConfigError: Host or port cannot be used.
    """
    if port is not None and not 0 < port < 2**16:
        raise ConfigError(f"--port is {port}; it must be from 1 to 65535.")
    try:
        socket.getaddrinfo(host, port)  # else Gradio would try it with one port after the other
    except OSError as error:
        raise ConfigError(
            f"--host {host} is not an address ({error.strerror}): pass another."
        ) from error
    warn_of_verdicts(predictor.calibration, predictor.precision, predictor.tile)
    with tempfile.TemporaryDirectory(prefix="padseg-app-") as folder, stop_signals() as stop:
        _keep_to_this_machine(Path(folder))
        from padseg.app.page import THEME, build_page  # once Gradio's settings are made

        page = build_page(predictor, checkpoint)
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port,
                inbrowser=open_browser,
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                enable_monitoring=False,
                run_history=False,
                footer_links=[],
                theme=THEME,
                css=CSS,
            )
        except OSError as error:
            where = host if port is None else f"{host}, port {port}"
            # Gradio's own words name its variables, and no reason.
            reason = (
                "it is not an address of this machine, or its port is in use or reserved"
                if error.errno is None
                else error
            )
            raise ConfigError(
                f"padseg cannot listen on {where}: {reason}; pass another --host or --port."
            ) from error
        try:
            say(f"Open {address} in a browser. Ctrl-C ends.")
            while not stop.wait(0.5):
                pass
        finally:
            page.close(verbose=False)


def _keep_to_this_machine(folder: Path) -> None:
    """Settings of Gradio, which reads some of them when it is imported.

    Args:
        folder: Folder for uploaded images.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    # Gradio asks itself whether it has started; a company's proxy would not find this machine.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), *_LOCAL)))
