"""Models behind OpenAI's chat-completions interface, with regions in the requests."""

from videorefer_plugin.serve.limits import Limits as Limits
from videorefer_plugin.serve.request import ChatRequest as ChatRequest
from videorefer_plugin.serve.request import read_request as read_request
