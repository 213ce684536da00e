"""Errors of the connection to the Hub, with advice."""

import contextlib
import re
from collections.abc import Iterator

from huggingface_hub import HfApi, get_token
from huggingface_hub.utils import HFValidationError, validate_repo_id

from videorefer_plugin._kinds import TEXT, check_kind
from videorefer_plugin.errors import PublishError

__all__ = ["check_repo_id", "explained", "hub_api"]

_SHORTEST_SECRET = 4
_AGAIN = "The repository is unchanged; run the same again later, and only the files that have not arrived are sent."


def check_repo_id(repo_id: str) -> None:
    """Make sure that a repository can have this name.

    Raises:
        PublishError: the name is invalid.
    """
    check_kind(PublishError, TEXT, repo_id=repo_id)
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise PublishError(f"{repo_id!r} cannot name a repository: {error}") from error


def hub_api(token: str | bool | None) -> tuple[HfApi, str | bool | None]:
    """Return the Hub's client, and the token to use.

    Raises:
        PublishError: the token is invalid.
    """
    if isinstance(token, str):
        token = token.strip()
        if not re.fullmatch(r"[!-~]+", token):  # otherwise the error about a malformed header would show it
            raise PublishError("The access token is empty or holds characters that no token has; copy it again.")
    return HfApi(token=token, library_name="videorefer-plugin"), token


@contextlib.contextmanager
def explained(repo_id: str, token: str | bool | None) -> Iterator[None]:
    """Turn the errors of the Hub's client into one with advice, which never shows the token.

    Args:
        repo_id (`str`): the repository, for the message.
        token (`str` or `bool`, *optional*): the token that is used.

    Raises:
        PublishError: any error occurred.
    """
    try:
        yield
    except PublishError:
        raise
    except Exception as error:  # the base class of transport errors changes between versions of the client
        secret = token if isinstance(token, str) else get_token() or ""
        message = f"{_advice(error, repo_id)}\n{_shown(error)}"
        if len(secret) >= _SHORTEST_SECRET and any(secret in _shown(cause) for cause in _chain(error)):
            # A header that cannot be sent is quoted by its error, which must not be shown in a traceback.
            raise PublishError(message.replace(secret, "***")) from None
        raise PublishError(message) from error


def _advice(error: BaseException, repo_id: str) -> str:
    codes = [getattr(getattr(cause, "response", None), "status_code", None) for cause in _chain(error)]
    code = next((code for code in codes if code is not None), None)
    if code == 401 or "token" in type(error).__name__.lower():
        return "The Hub did not accept the access token, or there is none. Log in: hf auth login, or set HF_TOKEN."
    if code == 403:
        return f"The access token may not write to {repo_id}. Use one with write access to it, or another repository."
    if code == 404:
        return f"The Hub does not know {repo_id}, or not for this access token."
    if code in (400, 413, 422):
        return f"The Hub refused what {repo_id} was to become."
    if code is not None:
        return f"The Hub failed (HTTP {code}) while {repo_id} was published. {_AGAIN}"
    if isinstance(error, ValueError):
        return f"{repo_id} cannot be published like this."
    return f"The Hub could not be reached while {repo_id} was published, or went away. {_AGAIN}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
