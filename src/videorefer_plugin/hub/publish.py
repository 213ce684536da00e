"""Preparing a folder for the Hub, and uploading it."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from transformers.utils import logging

from videorefer_plugin._kinds import PATH, PROCESSOR, TEXT, check_kind, lists
from videorefer_plugin.errors import ConfigurationError, PublishError
from videorefer_plugin.hub.card_files import CARD_CHOICES, compose, is_untouched
from videorefer_plugin.hub.cards import model_card
from videorefer_plugin.hub.client import check_repo_id, explained, hub_api
from videorefer_plugin.hub.contents import FolderContents
from videorefer_plugin.hub.folder import CARD, inspect_folder
from videorefer_plugin.hub.repository_files import configurations, shims, write_file
from videorefer_plugin.hub.run_summary import RUN_FILE, RunSummary
from videorefer_plugin.hub.selection import check_secrets

__all__ = ["PreparedFolder", "PublishReport", "kept_card", "prepare_folder", "publish", "push_model"]

logger = logging.get_logger(__name__)

# Weights of a model. Those of an earlier version under other names are removed, since they might be read first.
_MODEL_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")


@dataclass
class PreparedFolder:
    """A folder that is ready for the Hub, and the other files of its repository.

    Attributes:
        contents ([`FolderContents`]): its contents.
        sizes (`dict[str, int]`): every file to upload, with its size in bytes.
        changed (`dict[str, str]`): files that are uploaded with other content than in the folder.
        card (`str`): the model card.
    """

    contents: FolderContents
    sizes: dict[str, int]
    changed: dict[str, str]
    card: str


@dataclass
class PublishReport:
    """The result of [`publish`], or of its dry run.

    Attributes:
        repo_id (`str`): the repository.
        files (`dict[str, int]`): files, with their sizes in bytes.
        left_out (`dict[str, str]`): the other files in the folder, with the reason why they are not published.
        card (`str`): the model card.
        removed (`list[str]`): weights of an earlier version that were removed from the repository.
        commit (`CommitInfo`, *optional*): the commit; `None` after a dry run.
    """

    repo_id: str
    files: dict[str, int]
    left_out: dict[str, str]
    card: str
    removed: list[str] = field(default_factory=list)
    commit: CommitInfo | None = None

    @property
    def url(self) -> str | None:
        """The address of the commit or, with `create_pr`, of the pull request."""
        return None if self.commit is None else (self.commit.pr_url or self.commit.commit_url)


def prepare_folder(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    card: str = "auto",
    tags: list[str] | None = None,
    needs_processor: bool = True,
    dry_run: bool = False,
    remote_card: str | None = None,
    include: Sequence[str] = (),
) -> PreparedFolder:
    """Check a folder, and write the other files of its repository: shim files, `auto_map`, `README.md`.

    Publishing does not need this, and does not change the folder; use it to inspect the result, or to upload it by
    other means.

    Args:
        folder (`str` or `os.PathLike`):
            A folder written by `save_pretrained` of model and processor, a PEFT adapter, an object encoder, or both.
        repo_id (`str`): the repository to publish to; the card names it.
        card (`str`, *optional*, defaults to `"auto"`):
            How to treat a `README.md` that was written or edited by hand: with `"auto"` it is an error, with
            `"keep"` it is kept, with `"overwrite"` its text is replaced. Metadata added by hand is always kept.
        tags (`list[str]`, *optional*): more tags for the card.
        needs_processor (`bool`, *optional*, defaults to `True`): whether a model without processor is refused.
        dry_run (`bool`, *optional*, defaults to `False`): whether to write nothing.
        remote_card (`str`, *optional*): the current card of the repository, to which the same rules apply.
        include (`Sequence[str]`, *optional*): further files to publish, relative to the folder.

    Raises:
        PublishError: the folder is not complete, does not load, or a card was edited; or a text in it seems to hold a
            key, a token or a password.
        ConfigurationError: `card` is not one of the three values.
    """
    check_kind(PublishError, lists(TEXT, "tags"), optional=True, tags=tags)
    if card not in CARD_CHOICES:
        raise ConfigurationError(f"card must be one of {', '.join(map(repr, CARD_CHOICES))}, but is {card!r}.")
    contents = inspect_folder(folder, needs_processor=needs_processor, include=include)
    folder = contents.folder
    run = RunSummary.load(folder)
    changed = {**shims(contents), **configurations(contents)}
    if run is not None:
        changed[RUN_FILE] = run.to_json()
    metadata, text = model_card(contents, run, repo_id)
    metadata["tags"] = [*metadata["tags"], *(tags or [])]
    local = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else None
    kept = kept_card(folder / CARD, local, remote_card, card)
    if kept is None:
        changed[CARD] = compose(metadata, text, [each for each in (remote_card, local) if each is not None])
    check_secrets(folder, [name for name in contents.files if name != CARD or kept == local], changed)
    sizes = {name: (folder / name).stat().st_size for name in contents.files}
    sizes |= {name: len(content.encode()) for name, content in changed.items()}
    if kept is not None and kept != local:
        sizes.pop(CARD, None)  # the repository's own card is kept
    if not dry_run:
        for name, content in changed.items():
            write_file(folder / name, content)
    return PreparedFolder(contents, dict(sorted(sizes.items())), changed, kept or changed[CARD])


def publish(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    private: bool | None = None,
    dry_run: bool = False,
    token: str | bool | None = None,
    revision: str | None = None,
    card: str = "auto",
    tags: list[str] | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    commit_description: str | None = None,
    needs_processor: bool = True,
    include: Sequence[str] = (),
) -> PublishReport:
    """Publish a folder on the Hub, in one commit. The folder is not changed.

    If it is interrupted, the repository is unchanged; running it again uploads only the files that have not arrived.

    Args:
        folder (`str` or `os.PathLike`): see [`prepare_folder`].
        repo_id (`str`): repository to publish to; it is created if it does not exist.
        private (`bool`, *optional*): whether a repository that is created is private.
        dry_run (`bool`, *optional*, defaults to `False`):
            Whether to check everything and report, without any request to the Hub.
        token (`str` or `bool`, *optional*): access token; by default that of `hf auth login` or `HF_TOKEN`.
        revision (`str`, *optional*): branch; it is created if it does not exist.
        create_pr (`bool`, *optional*, defaults to `False`): whether to open a pull request instead.
        commit_message, commit_description (`str`, *optional*): of the commit.
        card, tags, needs_processor, include: see [`prepare_folder`].

    Returns:
        [`PublishReport`]

    Raises:
        PublishError: the folder cannot be published, or the Hub refused it. The token is never part of the message.
        ConfigurationError: `card` is not one of the three values.
    """
    check_repo_id(repo_id)
    prepare: dict[str, Any] = {"card": card, "tags": tags, "needs_processor": needs_processor, "include": include}
    # Also before the first request to the Hub, so that a folder with errors leaves no empty repository behind.
    plan = prepare_folder(folder, repo_id, dry_run=True, **prepare)
    if dry_run:
        return PublishReport(repo_id, plan.sizes, plan.contents.left_out, plan.card)
    api, token = hub_api(token)
    with explained(repo_id, token):
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        remote = api.list_repo_files(repo_id, revision=revision)
        remote_card = None
        if CARD in remote:
            remote_card = Path(api.hf_hub_download(repo_id, CARD, revision=revision)).read_text(encoding="utf-8")
    plan = prepare_folder(folder, repo_id, remote_card=remote_card, dry_run=True, **prepare)
    stale = [name for name in remote if _MODEL_WEIGHTS.fullmatch(name) and name not in plan.sizes]
    stale = stale if plan.contents.kind == "model" else []
    with explained(repo_id, token):
        commit = api.create_commit(
            repo_id,
            [*_additions(plan), *(CommitOperationDelete(name) for name in stale)],
            revision=revision,
            create_pr=create_pr,
            commit_message=commit_message or f"Publish {plan.contents.kind.replace('_', ' ')} with videorefer-plugin",
            commit_description=commit_description,
        )
    return PublishReport(repo_id, plan.sizes, plan.contents.left_out, plan.card, stale, commit)


def _additions(plan: PreparedFolder) -> Iterator[CommitOperationAdd]:
    for name in plan.sizes:
        changed = plan.changed.get(name)
        yield CommitOperationAdd(name, plan.contents.folder / name if changed is None else changed.encode())


def push_model(
    model: Any, folder: str | os.PathLike, repo_id: str, *, processor: Any = None, **kwargs: Any
) -> PublishReport:
    """Publish a model that was saved in a folder, with a processor; this is `model.push_to_hub`.

    Args:
        model (`PreTrainedModel`): the model.
        folder (`str` or `os.PathLike`): the folder that it was saved in.
        repo_id (`str`): repository to publish to.
        processor (`VideoLLaMA2Processor`, *optional*):
            Published with it. By default, the processor in the folder, in the repository, or of the checkpoint
            that the model was loaded from; if there is none, a warning says so.
        kwargs: the other arguments of [`publish`].

    Raises:
        PublishError: the folder cannot be published, or the Hub refused it.
    """
    check_kind(PublishError, PATH, folder=folder)
    check_kind(PublishError, PROCESSOR, optional=True, processor=processor)
    if processor is not None:
        processor.save_pretrained(folder)
    is_model = (Path(folder) / "config.json").is_file()
    if is_model and not (Path(folder) / "processor_config.json").is_file():
        _add_processor(model, folder, repo_id, kwargs.get("token"), kwargs.get("revision"))
    return publish(folder, repo_id, needs_processor=False, **kwargs)


def _add_processor(
    model: Any, folder: str | os.PathLike, repo_id: str, token: str | bool | None, revision: str | None
) -> None:
    from transformers import AutoProcessor

    from videorefer_plugin.models.videollama2.processing import VideoLLaMA2Processor

    try:
        if HfApi(token=token).file_exists(repo_id, "processor_config.json", revision=revision):
            return
    except Exception as error:  # publishing meets the same error and explains it
        logger.debug("Could not look for a processor in %s: %s", repo_id, type(error).__name__)
    try:
        # From the commit that the model was loaded from.
        fetched_with = getattr(model, "_fetched_with", {})
        found = AutoProcessor.from_pretrained(model.name_or_path, **fetched_with) if model.name_or_path else None
    except (OSError, ValueError):
        found = None
    if isinstance(found, VideoLLaMA2Processor):
        found.save_pretrained(folder)
    else:
        logger.warning(
            "%s gets no processor, without which nobody can ask the model anything: none was given, and there is none "
            "where the model was loaded from. Follow up with processor.push_to_hub(%r).",
            repo_id,
            repo_id,
        )


def kept_card(path: Path, local: str | None, remote: str | None, choice: str) -> str | None:
    """Return the existing card if it was written by hand and is kept; `None` if a new one replaces it.

    Args:
        path (`Path`): of the card in the folder.
        local, remote (`str`, *optional*): the cards in the folder and in the repository, if any.
        choice (`str`): see [`prepare_folder`].

    Raises:
        PublishError: a card was written by hand, and `choice` is `"auto"`.
    """
    by_hand = [
        (card, place)
        for card, place in ((local, str(path)), (remote, "The card on the Hub"))
        if card is not None and not is_untouched(card)
    ]
    if not by_hand or choice == "overwrite":
        return None
    if choice == "auto":
        raise PublishError(
            f"{by_hand[0][1]} was written or edited by hand. Keep it (card='keep', or --card keep), or have it "
            "replaced (card='overwrite', or --card overwrite)."
        )
    return by_hand[0][0]
