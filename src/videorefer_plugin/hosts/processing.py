"""`RegionProcessor`: a host's own processor, and regions."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.feature_extraction_utils import BatchFeature
from transformers.video_utils import VideoMetadata

from videorefer_plugin.errors import ConfigurationError, PromptError, RegionError, VideoError, VideoReferError
from videorefer_plugin.hosts.binding import bind_processor
from videorefer_plugin.hosts.grids import VisualGrid
from videorefer_plugin.hosts.placeholders import expand_regions, join_offsets
from videorefer_plugin.hosts.registry import Visual, host_of
from videorefer_plugin.hosts.sampling import Clip, grid_masks, open_clip, region_frames, show_frames
from videorefer_plugin.models.videollama2.visuals import flatten_images, flatten_videos
from videorefer_plugin.models.videorefer.processing import _by_sample, _inline_regions
from videorefer_plugin.object_encoder.masks import MASK_POLICIES
from videorefer_plugin.regions import Region

__all__ = ["RegionProcessor"]

_SETTINGS = (
    "regions",
    "mask_policy",
    "max_frames_per_region",
    "include_region_frames",
    "num_frames",
    "fps",
    "video_start",
    "video_end",
    "do_sample_frames",
    "video_metadata",
    "return_metadata",
)


class RegionProcessor:
    """Turns prompts with `<region>`, visuals and regions into the inputs of a host with an attached object encoder.

    It wraps the host's own processor, which still does all that is not about regions, and offers its attributes.
    Videos are decoded and sampled by this library, frame by frame exact, as by [`sample_frame_indices`].

    The model must see every frame that carries a mask, since masks pool features of the frames it sees anyway. So each
    such frame takes the place of the sampled frame nearest to it: the number of frames stays as asked for, and grows
    only where more frames carry masks than are sampled (`max_frames_per_region` limits that). In hosts that fuse pairs
    of frames, a mask belongs to the pair that its frame is in.

    `<region>` is added to the wrapped processor's tokenizer. The model's embeddings are not resized: the id may lie
    beyond them, since the host never sees it.

    Args:
        processor (`ProcessorMixin`): the host's processor.
        host: the model with the attached object encoder; or where a saved object encoder is, without a model.
        mask_policy (`str`, *optional*, defaults to `"keep"`):
            `"keep"` or `"original"`, as in [`VideoReferProcessor`].
        num_frames (`int`, *optional*): frames to sample from each video; by default what the host's processor says.
        max_frames_per_region (`int`, *optional*): the most frames to use of a region, taken evenly; all by default.

    Raises:
        ConfigurationError: the processor does not fit the host, there is no object encoder, or a setting is unknown.
        CheckpointError: there is no saved object encoder in that place.

    Example:

    ```python
    vr.attach_object_encoder(model)
    processor = vr.RegionProcessor(AutoProcessor.from_pretrained(name), model)
    messages = [{"role": "user", "content": [
        {"type": "video", "video": "dog.mp4"}, {"type": "text", "text": "What is <region> doing?"}]}]
    inputs = processor.apply_chat_template(messages, regions=[region], add_generation_prompt=True, tokenize=True)
    answer = model.generate(**inputs, max_new_tokens=64)
    ```
    """

    def __init__(
        self,
        processor: Any,
        host: Any,
        *,
        mask_policy: str = "keep",
        num_frames: int | None = None,
        max_frames_per_region: int | None = None,
    ):
        self.attachment = bind_processor(processor, host)
        self.processor = processor
        self.host = host_of(self.attachment.host_model_type)
        self.mask_policy = _known_policy(mask_policy)
        self.num_frames = num_frames
        self.max_frames_per_region = max_frames_per_region
        self.region_token = self.attachment.region_token
        self.region_token_id = self.attachment.region_token_id
        self.max_tokens_per_region = self.attachment.object_encoder.max_tokens_per_region

    def __getattr__(self, name: str) -> Any:
        if name == "processor":  # not there yet while this is being unpickled
            raise AttributeError(name)
        return getattr(self.processor, name)

    # ------------------------------------------------------------------ calling

    def __call__(self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any) -> BatchFeature:
        """Prepare a batch for the model.

        Args:
            images: the images of the prompts, in order.
            text (`str` or `list[str]`): prompts with the host's own placeholders and `<region>`.
            videos: the videos of the prompts, in order, as [`open_video`] takes them.
            regions (`list[Region]` or `list[list[Region]]`, *optional*):
                One [`Region`] for each `<region>`, in prompt order; a list for each sample if there are several.
                They lie on the one video or image of their sample.
            mask_policy, num_frames, max_frames_per_region: instead of the processor's.
            fps (`float`, *optional*): frames to sample a second, instead of `num_frames`.
            video_start, video_end (`float`, *optional*): part of the videos to look at, in seconds.
            include_region_frames (`bool`, *optional*, defaults to `True`):
                Whether frames that carry masks are shown in place of sampled ones; otherwise they must be among these.
            do_sample_frames (`bool`, *optional*, defaults to `True`): otherwise all frames of every video are shown.
            video_metadata (`list[dict]`, *optional*):
                For videos sampled beforehand, one each: `frames_indices` are the source frames, and `fps` and
                `total_num_frames` those of the source. Regions name source frames.
            return_metadata (`bool`, *optional*): whether to return `video_metadata` too.
            return_text_replacement_offsets (`bool`, *optional*): whether to say where placeholders were and are.
            kwargs: settings of the host's processor. Prompts are padded on the left, to the longest, by default.

        Returns:
            `BatchFeature` with what the host's processor returns and, if there are regions, `region_masks` of shape
            `(M, height, width)` and dtype `bool` on the feature grids, those of smaller grids filled up;
            `region_frames` of shape `(M,)`, the feature grid of the batch that each lies on; and `region_lengths` of
            shape `(R,)`, the number of masks of each region.

        Raises:
            PromptError: placeholders, visuals and regions do not match.
            RegionError: a region does not fit its video, or lies on frames that are not shown; the sample is named.
            VideoError: a visual cannot be read, or the host needs videos of equally many frames.
            ConfigurationError: a setting has an unknown value.
        """
        settings = {name: kwargs.pop(name, None) for name in _SETTINGS}
        for name in ("mask_policy", "num_frames", "max_frames_per_region"):
            if settings[name] is None and not (name == "num_frames" and settings["fps"] is not None):
                settings[name] = getattr(self, name)
        _known_policy(settings["mask_policy"])
        if kwargs.pop("return_tensors", "pt") not in ("pt", None):
            raise ConfigurationError("RegionProcessor returns PyTorch tensors only: leave return_tensors out.")
        kwargs.setdefault("padding", True)
        kwargs.setdefault("padding_side", "left")
        if text is None:
            raise PromptError("text is missing: pass the prompt, or a list of prompts.")
        texts = [text] if isinstance(text, str) else list(text)
        clips = self._open(texts, {"image": flatten_images(images), "video": flatten_videos(videos)}, settings)
        regions = self._match(texts, clips, _by_sample(settings["regions"], len(texts)))
        used = self._use(regions, clips, settings)
        self._check_lengths(clips)
        unions = self.max_tokens_per_region
        counts = {sample: [min(len(frames), unions) for _, frames in own] for sample, own in used.items()}
        both = [expand_regions(text, self.region_token, counts.get(n, [])) for n, text in enumerate(texts)]
        expanded = [text for text, _ in both]
        outputs = self._call_processor(expanded, clips, kwargs)
        if "text_replacement_offsets" in outputs:
            moved = zip(both, outputs["text_replacement_offsets"], strict=True)
            outputs["text_replacement_offsets"] = [join_offsets(own, of_host) for (_, own), of_host in moved]
        data = {**dict(outputs), **self._region_tensors(outputs, clips, used, settings["mask_policy"])}
        self._check_complete(expanded, data["input_ids"])
        if settings["return_metadata"]:
            data["video_metadata"] = [clip.describe() for clip in clips if clip.kind == "video"]
        return BatchFeature(data)

    def _open(self, texts: list[str], sources: dict[str, list[Any]], settings: dict[str, Any]) -> list[Clip]:
        """Give every placeholder its visual, in order of the prompts."""
        tokens = {kind: getattr(self.processor, f"{kind}_token") for kind in ("video", "image")}
        pattern = re.compile("|".join(f"(?P<{kind}>{re.escape(token)})" for kind, token in tokens.items()))
        metadata = settings["video_metadata"]
        if metadata is not None:
            metadata = [metadata] if not isinstance(metadata, (list, tuple)) else metadata
            if len(metadata) != len(sources["video"]):
                raise VideoError(f"video_metadata has {len(metadata)} item(s) for {len(sources['video'])} video(s).")
        taken = {"video": 0, "image": 0}
        clips = []
        for sample, prompt in enumerate(texts):
            if not isinstance(prompt, str):
                raise PromptError(f"Sample {sample}: text must be a string, but is a {type(prompt).__name__}.")
            for match in pattern.finditer(prompt):
                kind = str(match.lastgroup)
                place = taken[kind]
                if place >= len(sources[kind]):
                    raise PromptError(
                        f"Sample {sample} has a {tokens[kind]}, but only {len(sources[kind])} {kind}(s) were given "
                        f"for the batch. Pass one {kind} for each {tokens[kind]}."
                    )
                taken[kind] += 1
                known = metadata[place] if metadata is not None and kind == "video" else None
                video_processor = getattr(self.processor, "video_processor", self.processor)
                with _named(f"Sample {sample}"):
                    clips.append(open_clip(kind, sample, sources[kind][place], settings, video_processor, known))
        for kind, count in taken.items():
            if count < len(sources[kind]):
                raise PromptError(
                    f"{len(sources[kind])} {kind}(s) were given, but the prompts have {count} {tokens[kind]}. Put one "
                    "into the text for each, best with apply_chat_template."
                )
        return clips

    def _match(self, texts: list[str], clips: list[Clip], regions: list[list[Any]]) -> list[list[Region]]:
        for sample, (prompt, given) in enumerate(zip(texts, regions, strict=True)):
            count = prompt.count(self.region_token)
            if count != len(given):
                raise PromptError(
                    f"Sample {sample} has {count} {self.region_token} in its text, but {len(given)} region(s) were "
                    "given for it. Pass one Region for each, in the order of the text."
                )
            visuals = sum(clip.sample == sample for clip in clips)
            if given and visuals != 1:
                raise PromptError(
                    f"Sample {sample} has regions and {visuals} visuals, but regions need exactly one to lie on."
                )
            for region in given:
                if not isinstance(region, Region):
                    raise RegionError(f"Sample {sample}: a region must be a Region, but is a {type(region).__name__}.")
        return regions

    def _use(
        self, regions: list[list[Region]], clips: list[Clip], settings: dict[str, Any]
    ) -> dict[int, list[tuple[Region, list[int]]]]:
        """For every sample with regions, these and the frames in which they are used."""
        used: dict[int, list[tuple[Region, list[int]]]] = {}
        may_change = settings["include_region_frames"] is not False and settings["do_sample_frames"] is not False
        for clip in clips:
            own = used[clip.sample] = []
            for number, region in enumerate(regions[clip.sample]):
                with _named(f"Sample {clip.sample}: region {number}"):
                    own.append(region_frames(region, clip, settings["mask_policy"], settings["max_frames_per_region"]))
            with _named(f"Sample {clip.sample}"):
                show_frames(clip, [frame for _, frames in own for frame in frames], may_change)
        return used

    def _check_lengths(self, clips: list[Clip]) -> None:
        lengths = [len(clip.sampled) for clip in clips if clip.kind == "video"]
        if self.host.equal_frames and len(set(lengths)) > 1:
            raise VideoError(
                f"The videos of the batch have {lengths} frames to show, but {self.host.model_type} hosts need "
                "equally many. Sample with num_frames=, at least as many as frames carry masks, or limit those with "
                "max_frames_per_region."
            )

    def _call_processor(self, texts: list[str], clips: list[Clip], kwargs: dict[str, Any]) -> dict[str, Any]:
        visuals: dict[str, list[Any]] = {"video": [], "image": []}
        for clip in clips:
            frames = clip.read()
            visuals[clip.kind].append(frames if clip.kind == "video" else frames[0])
        metadata = [VideoMetadata(**clip.describe()) for clip in clips if clip.kind == "video"]
        return self.host.call_processor(self.processor, texts, visuals, metadata, kwargs)

    def _region_tensors(
        self, outputs: dict[str, Any], clips: list[Clip], used: dict[int, list[tuple[Region, list[int]]]], policy: str
    ) -> dict[str, Tensor]:
        if not any(used.values()):
            return {}
        visuals = [Visual(clip.kind, len(clip.sampled), clip.sample) for clip in clips]
        grids = self.host.locate(self.processor, outputs, visuals, self.attachment.patch_size)
        masks: list[Tensor] = []
        rows: list[int] = []
        lengths: list[int] = []
        for clip, grid in zip(clips, grids, strict=True):
            place = {frame: position for position, frame in reversed(list(enumerate(clip.sampled)))}
            for region, frames in used[clip.sample]:
                grid = self._placed(grid, clip)
                masks.append(grid_masks(region, frames, clip, grid.size, policy, grid.pad_to_square))
                rows += [grid.first_row + place[frame] // grid.frames_per_row for frame in frames]
                lengths.append(len(frames))
        height, width = (max(mask.shape[axis] for mask in masks) for axis in (1, 2))
        padded = [
            torch.nn.functional.pad(mask, (0, width - mask.shape[2], 0, height - mask.shape[1])) for mask in masks
        ]
        return {
            "region_masks": torch.cat(padded),
            "region_frames": torch.tensor(rows),
            "region_lengths": torch.tensor(lengths),
        }

    def _placed(self, grid: VisualGrid | None, clip: Clip) -> VisualGrid:
        if grid is None:
            raise RegionError(
                f"Sample {clip.sample}: {self.host.model_type} hosts cut images into tiles, so that regions cannot be "
                "placed in a batch with images. Show the image as a video of one frame, videos=[[image]]."
            )
        return grid

    def _check_complete(self, texts: list[str], input_ids: Tensor) -> None:
        for sample, (prompt, ids) in enumerate(zip(texts, input_ids, strict=True)):
            wanted, found = prompt.count(self.region_token), int((ids == self.region_token_id).sum())
            if wanted != found:
                raise PromptError(
                    f"Sample {sample} needs {wanted} {self.region_token} position(s), but {found} are left after "
                    "tokenising: the text was truncated. Raise max_length, or shorten the text yourself."
                )

    # ------------------------------------------------------------------ chat

    def apply_chat_template(
        self,
        conversation: Any,
        chat_template: str | None = None,
        *,
        regions: Any = None,
        tokenize: bool = True,
        processor_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Format a conversation, or many, with the host's chat template, and prepare it for the model.

        Args:
            conversation (`list[dict]` or `list[list[dict]]`):
                Messages. Content items are `{"type": "video", "video": ...}`, `{"type": "image", "image": ...}`,
                `{"type": "text", "text": ...}` and `{"type": "region", "region": Region}`, which stands for a
                `<region>` in the text around it.
            chat_template (`str`, *optional*): instead of the host's.
            regions (*optional*): as in [`RegionProcessor.__call__`], if there are no items of type `"region"`.
            tokenize (`bool`, *optional*, defaults to `True`): otherwise the prompts are returned as text.
            processor_kwargs (`dict`, *optional*): settings of [`RegionProcessor.__call__`].
            kwargs: settings of the call (those named there may be given directly) or of the template.

        Returns:
            `BatchFeature` as of [`RegionProcessor.__call__`], or the text.

        Raises:
            PromptError: regions are given both ways. Also what [`RegionProcessor.__call__`] raises.
            ConfigurationError: an assistant mask is asked for, which the host's template cannot give for text that
                this class expands.
        """
        if kwargs.pop("return_assistant_tokens_mask", False):
            raise ConfigurationError(
                "return_assistant_tokens_mask is not supported here: find the assistant's turns in input_ids instead."
            )
        batched = bool(conversation) and isinstance(conversation[0], (list, tuple))
        conversations = conversation if batched else [conversation]
        inline = [_inline_regions(one) for one in conversations]
        if any(inline):
            if regions is not None:
                raise PromptError("Regions are given both as regions= and as content items; use one way.")
            regions = inline
        own = {name: kwargs.pop(name) for name in list(kwargs) if name in (*_SETTINGS, "padding", "padding_side")}
        own = {**(processor_kwargs or {}), **own}
        for name in ("return_dict", "return_tensors"):
            kwargs.pop(name, None)
        sources: dict[str, list[Any]] = {"video": [], "image": []}
        plain = [_plain(one, sources, self.region_token) for one in conversations]
        texts = [
            self.processor.apply_chat_template(one, chat_template=chat_template, tokenize=False, **kwargs)
            for one in plain
        ]
        if not tokenize:
            return texts if batched else texts[0]
        return self(text=texts, videos=sources["video"], images=sources["image"], regions=regions, **own)


def _plain(conversation: Sequence[dict], sources: dict[str, list[Any]], token: str) -> list[dict]:
    """A conversation without visuals and regions themselves; text around regions becomes one item."""
    messages = []
    for message in conversation:
        content = message.get("content")
        if not isinstance(content, (list, tuple)):
            messages.append(message)
            continue
        items: list[dict] = []
        for item in content:
            kind = item.get("type")
            if kind in sources:
                source = next((item[name] for name in (kind, "path", "url") if item.get(name) is not None), None)
                if source is None:
                    raise PromptError(f'A content item of type "{kind}" needs a {kind} under "{kind}".')
                # A list of frames is one video, not many.
                sources[kind].append(source)
                items.append({"type": kind})
            elif kind in ("text", "region"):
                text = token if kind == "region" else item["text"]
                if items and items[-1]["type"] == "text":
                    items[-1]["text"] += text
                else:
                    items.append({"type": "text", "text": text})
            else:
                items.append(item)
        messages.append({**message, "content": items})
    return messages


class _named:  # noqa: N801 - reads as a statement
    """Say which sample an error is about."""

    def __init__(self, place: str):
        self.place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, VideoReferError):
            raise type(error)(f"{self.place}: {error}") from error


def _known_policy(policy: Any) -> Any:
    if policy not in MASK_POLICIES:
        raise ConfigurationError(f"Unknown mask_policy {policy!r}; known are {', '.join(map(repr, MASK_POLICIES))}.")
    return policy
