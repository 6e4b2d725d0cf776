"""`padseg app`: a window in the browser for single images, on Gradio."""

from padseg.app.server import require_gradio, serve

__all__ = ["require_gradio", "serve"]
