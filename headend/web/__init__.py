"""The page and its JSON: what the plant does now, each meter's curve, findings, and the state of the system itself."""

from headend.web.app import create_app
from headend.web.serving import Serving, serve_in_thread

__all__ = ["Serving", "create_app", "serve_in_thread"]
