"""`RegionProcessor`: a host's own processor with regions."""

from typing import Any

from transformers.feature_extraction_utils import BatchFeature

from videorefer_plugin.errors import ConfigurationError, VideoError
from videorefer_plugin.hosts.binding import bind_processor
from videorefer_plugin.hosts.crops import crop_tensors
from videorefer_plugin.hosts.placing import Plan, UsedRegion, read_once, region_tensors
from videorefer_plugin.hosts.registry import Visual, host_of, supported_hosts
from videorefer_plugin.inputs.clips import CLIP_SETTINGS, Clip, Sampling, clips_by_sample, open_clips, show_frames
from videorefer_plugin.inputs.conversations import as_conversations, plain_conversation, regions_of
from videorefer_plugin.inputs.masks import region_frames
from videorefer_plugin.inputs.matching import (
    REGION_SETTINGS,
    SETTING_GROUPS,
    Sample,
    check_mask_policy,
    check_region_limit,
    match_samples,
    named,
    take_settings,
)
from videorefer_plugin.inputs.placeholders import check_expanded, expand, join_offsets
from videorefer_plugin.inputs.placing import place_regions
from videorefer_plugin.models.batches import JoinsSamples, PreparedBatch
from videorefer_plugin.models.chat_settings import TEXT_SETTINGS, take_chat_settings
from videorefer_plugin.models.hub_arguments import HUB_ARGUMENTS, hub_arguments
from videorefer_plugin.models.videorefer.crop_inputs import CropInputs
from videorefer_plugin.models.videorefer_videollama3.cropping import plan_used, warn_of_cost

__all__ = ["RegionProcessor"]

_SETTINGS = (*REGION_SETTINGS, *CLIP_SETTINGS, "include_region_frames")
_DEFAULT_NUM_FRAMES = 16


class RegionProcessor(JoinsSamples):
    """Turns prompts with `<region>`, visuals and regions into the inputs of a host with an attached object encoder.

    It wraps the host's own processor, which still does everything that is not about regions, and offers its
    attributes. Videos are decoded and sampled by this library, with exact frames, as in [`sample_frame_indices`].

    The model must see every frame that carries a mask, since masks pool features of the frames that it sees anyway. So
    each such frame replaces the sampled frame nearest to it: the number of frames stays as requested, and grows only
        if
    more frames carry masks than are sampled (`max_frames_per_region` limits that). In hosts that fuse pairs of frames,
    a mask belongs to the pair that its frame is in.

    `<region>` is added to the wrapped processor's tokenizer. The model's embeddings are not resized: the id may be
    larger than their number, since the host never sees it.

    Args:
        processor (`ProcessorMixin`): the host's processor.
        host: the model with the attached object encoder; or the folder or Hub id of a saved object encoder.
        mask_policy (`str`, *optional*, defaults to `"keep"`):
            `"keep"` or `"original"`, as in [`VideoReferProcessor`].
        num_frames (`int`, *optional*): frames to sample from each video; by default the setting of the host's
            processor.
        max_frames_per_region (`int`, *optional*): the most frames to use of a region, taken evenly; all by default.
        hub_kwargs: with a Hub id, arguments for fetching its files, as in [`load_object_encoder`].

    Raises:
        ConfigurationError: the processor does not fit the host, there is no object encoder, or a setting is unknown.
        CheckpointError: the folder or repository has no saved object encoder.

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
        **hub_kwargs: Any,
    ):
        take_settings(hub_kwargs, (), HUB_ARGUMENTS, "RegionProcessor")
        self.attachment = bind_processor(processor, host, **hub_arguments(hub_kwargs))
        self.processor = processor
        self.host = host_of(self.attachment.host_model_type)
        self.mask_policy = check_mask_policy(mask_policy)
        self.num_frames = num_frames
        self.max_frames_per_region = max_frames_per_region
        self.region_token = self.attachment.region_token
        self.region_token_id: int = processor.tokenizer.convert_tokens_to_ids(self.region_token)

    @property
    def max_tokens_per_region(self) -> int:
        """The limit of the object encoder for the tokens of a region: unions u, or tokens of a mask."""
        return self.attachment.object_encoder.num_tokens(1 if self.shows_crops else 1 << 30)

    @property
    def shows_crops(self) -> bool:
        """Whether the object encoder looks at crops of frames, and not at the frames that the host sees."""
        return self.attachment.object_encoder.kind == "crop"

    @property
    def object_encoder_config(self) -> Any:
        """Configuration of the object encoder."""
        return self.attachment.object_encoder

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that a call may return for the model: the host's, and those of regions."""
        fields = CropInputs._fields[:-1] if self.shows_crops else ("masks", "frames", "lengths")
        names = [*self.processor.model_input_names, *(f"region_{field}" for field in fields)]
        return list(dict.fromkeys(names))  # some hosts name one twice

    def __getattr__(self, name: str) -> Any:
        if name == "processor":  # not set yet while this is being unpickled
            raise AttributeError(name)
        return getattr(self.processor, name)

    # ------------------------------------------------------------------ calling

    def __call__(
        self, images: Any = None, text: Any = None, videos: Any = None, audio: Any = None, **kwargs: Any
    ) -> BatchFeature:
        """Prepare a batch for the model.

        Args:
            images: the images of the prompts, in order.
            text (`str` or `list[str]`): prompts with the host's own placeholders and `<region>`.
            videos: the videos of the prompts, in order, as [`open_video`] takes them.
            regions (`list[Region]` or `list[list[Region]]`, *optional*):
                One [`Region`] for each `<region>`, in prompt order; a list for each sample if there are several.
                A region lies on the last visual before it, unless its `visual` names another.
            mask_policy, num_frames, max_frames_per_region: instead of the processor's.
            fps (`float`, *optional*): frames to sample a second, evenly spread, instead of `num_frames`.
            max_frames (`int`, *optional*): the most frames to sample from a video.
            video_start, video_end (`float`, *optional*):
                Part of the videos to look at, in seconds. These, `num_frames`, `fps` and `max_frames` may be lists,
                with a value for each video, or one for each sample.
            include_region_frames (`bool`, *optional*, defaults to `True`):
                Whether frames that carry masks replace sampled ones; otherwise they must be among the sampled frames.
            do_sample_frames (`bool`, *optional*, defaults to `True`): otherwise all frames of every video are shown.
            video_metadata (`list[dict]`, *optional*):
                For frames decoded elsewhere, a dict or `VideoMetadata` for each video: `frames_indices` are the
                    indices
                of these frames in the source, by default all, and `fps` and `total_num_frames` are those of the
                source. Regions name source frames.
            return_metadata (`bool`, *optional*): whether to return `video_metadata` too.
            return_text_replacement_offsets (`bool`, *optional*): whether to return the positions of placeholders.
            kwargs: settings of the host's processor. Prompts are padded on the left, to the longest, by default.

        Returns:
            `BatchFeature` with the outputs of the host's processor and, if there are regions, `region_masks` of shape
            `(B, M, height, width)` and dtype `bool` on the feature grids, padded for smaller grids;
            `region_frames` of shape `(B, M)`, the feature grid of the sample that each lies on, counted from 1; and
            `region_lengths` of shape `(B, R)`, the number of masks of each region. Every prompt has a row, which is
            padded with zeros if others have more; see [`RegionInputs`].

        Raises:
            PromptError: placeholders, visuals and regions do not match.
            RegionError: a region does not fit its video, or lies on frames that are not shown; the message names the
                sample.
            VideoError: a visual cannot be read, or the host needs videos of equally many frames.
            ConfigurationError: a setting is unknown or has an unknown value.
        """
        plan = self.plan(images, text, videos, audio, **kwargs)
        return self.finish(plan, self._call_processor(plan))

    def plan(self, images: Any = None, text: Any = None, videos: Any = None, audio: Any = None, **kwargs: Any) -> Plan:
        """The first part of a call: match, open and check the inputs before any frame is decoded.

        Arguments and errors are those of [`RegionProcessor.__call__`].

        Returns:
            [`Plan`]: the frames to show in each prompt. The outputs of the host's processor for these are the
                argument of [`RegionProcessor.finish`].
        """
        settings, rest = self._split_settings(kwargs)
        samples = match_samples(
            text,
            images,
            videos,
            settings["regions"],
            audio=audio,
            tokens={kind: getattr(self.processor, f"{kind}_token") for kind in ("video", "image")},
            region_token=self.region_token,
        )
        clips = self._open(samples, settings)
        used = self._use(samples, clips_by_sample(clips, len(samples)), settings)
        self._check_lengths(clips)
        expanded = [expand(sample.text, sample.replacements) for sample in samples]
        return Plan(samples, clips, used, expanded, settings, rest)

    def finish(self, plan: Plan, outputs: dict[str, Any]) -> PreparedBatch:
        """The last part of a call: combine the outputs of the host's processor and the regions.

        Args:
            plan ([`Plan`]): the result of [`RegionProcessor.plan`].
            outputs (`dict`): the result of [`Host.call_processor`]; only the shapes of pixels are used.

        Raises:
            PromptError: the text was truncated.
            RegionError: a region lies on a visual on which the host cannot place regions; the message names the
                sample.
        """
        if "text_replacement_offsets" in outputs:
            moved = zip(plan.expanded, outputs["text_replacement_offsets"], strict=True)
            outputs["text_replacement_offsets"] = [join_offsets(own, of_host) for (_, own), of_host in moved]
        data = dict(outputs)
        if any(plan.used) and self.shows_crops:
            data |= crop_tensors(self.processor, plan.used)
        elif any(plan.used):
            visuals = [Visual(clip.kind, len(clip.sampled), clip.sample) for clip in plan.clips]
            grids = self.host.locate(self.processor, outputs, visuals, self.attachment.patch_size)
            data |= region_tensors(self.host, plan.clips, grids, plan.used, plan.settings["mask_policy"])
        replacements = [sample.replacements for sample in plan.samples]
        check_expanded(data["input_ids"], replacements, {self.region_token: self.region_token_id})
        if plan.settings["return_metadata"]:
            data["video_metadata"] = [clip.describe() for clip in plan.clips if clip.kind == "video"]
        return PreparedBatch(data)

    def _split_settings(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Separate settings of this class from the host's, and refuse unknown ones."""
        others = TEXT_SETTINGS | self.host.settings(self.processor)
        own = (*_SETTINGS, *(name for name in ("min_frames",) if name in others))
        settings, rest = take_settings(kwargs, own, others, type(self).__name__)
        for name in ("mask_policy", "max_frames_per_region"):
            if settings[name] is None:
                settings[name] = getattr(self, name)
        check_mask_policy(settings["mask_policy"])
        check_region_limit(settings["max_frames_per_region"])
        groups = [rest, *(rest[name] for name in SETTING_GROUPS if name in rest)]
        for group in groups:
            if group.pop("return_tensors", "pt") not in ("pt", None):
                raise ConfigurationError("RegionProcessor returns PyTorch tensors only: leave return_tensors out.")
        for name, value in (("padding", True), ("padding_side", "left")):
            if not any(name in group for group in groups):
                rest[name] = value
        return settings, rest

    def _sampling(self, settings: dict[str, Any]) -> Sampling:
        own = getattr(self.processor, "video_processor", self.processor)
        usual: dict[str, Any] = {
            name: getattr(own, name, None) for name in ("num_frames", "fps", "min_frames", "max_frames")
        }
        number, rate = usual["num_frames"], usual["fps"]
        if self.num_frames is not None:
            number = self.num_frames
        if number is not None:
            rate = None
        elif rate is None:
            number = _DEFAULT_NUM_FRAMES
        return Sampling.of(
            settings,
            num_frames=number,
            fps=rate,
            min_frames=settings.get("min_frames") or usual["min_frames"] or 1,
            max_frames=usual["max_frames"],  # the host's limit is meant for its rate
        )

    def _open(self, samples: list[Sample], settings: dict[str, Any]) -> list[Clip]:
        """Open the visuals of the batch, in order of the prompts."""
        return list(open_clips(samples, self._sampling(settings), settings["video_metadata"]))

    def _use(self, samples: list[Sample], clips: list[list[Clip]], settings: dict[str, Any]) -> list[list[UsedRegion]]:
        """Draw the regions of every sample, make room for their tokens, and show the frames that they lie on."""
        encoder = self.attachment.object_encoder
        may_change = settings["include_region_frames"] is not False and settings["do_sample_frames"] is not False
        used: list[Any] = []
        for sample, visuals in zip(samples, clips, strict=True):
            own: list[UsedRegion] = []
            for number, region in enumerate(sample.regions):
                clip = visuals[sample.region_visuals[number]]
                with named(f"Sample {sample.index}: region {number}"):
                    masks = region_frames(region, clip, settings["mask_policy"], settings["max_frames_per_region"])
                own.append(UsedRegion(clip, masks))
            if self.shows_crops:
                drawn = [(one.clip, one.masks) for one in own]
                used.append(plan_used(encoder, sample, drawn, settings["mask_policy"], self.region_token))
                continue
            for clip in visuals:
                with named(f"Sample {sample.index}"):
                    frames = [frame for one in own if one.clip is clip for frame in one.masks.frames]
                    show_frames(clip, frames, may_change)
            masks_of = [one.masks for one in own]
            counts = encoder.count_tokens(masks_of, [masks.size for masks in masks_of])
            sample.replacements[self.region_token] = [encoder.placeholder(self.region_token, n) for n in counts]
            used.append(own)
        if self.shows_crops:
            warn_of_cost(self, [clip for own in clips for clip in own], used)
        return used

    def _check_lengths(self, clips: list[Clip]) -> None:
        lengths = [len(clip.sampled) for clip in clips if clip.kind == "video"]
        if self.host.equal_frames and len(set(lengths)) > 1:
            able = [name for name in supported_hosts() if not host_of(name).equal_frames]
            raise VideoError(
                f"The videos of the batch have {lengths} frames to show, but {self.host.model_type} hosts need "
                "equally many. Sample with num_frames=, at least as many as frames carry masks, limit those with "
                f"max_frames_per_region, or use one of the hosts that take any: {', '.join(able)}."
            )

    def _call_processor(self, plan: Plan) -> dict[str, Any]:
        return plan.call(self.host, self.processor, read_once(plan.clips))

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
                `{"type": "text", "text": ...}` and `{"type": "region", "region": Region}`, which becomes a `<region>`
                in the text around it, and the other forms that `as_conversations` reads. A region lies on the last
                visual before it in the conversation, unless it names its own.
            chat_template (`str`, *optional*): replaces the host's.
            regions (*optional*): as in [`RegionProcessor.__call__`], if there are no items of type `"region"`.
            tokenize (`bool`, *optional*, defaults to `True`): otherwise the prompts are returned as text.
            processor_kwargs (`dict`, *optional*): settings of [`RegionProcessor.__call__`].
            return_dict (`bool`, *optional*, defaults to `True`): otherwise only `input_ids` are returned.
            kwargs: settings of the call (those named above may be given directly) or of the template.

        Returns:
            `BatchFeature` as in [`RegionProcessor.__call__`], the ids, or the text.

        Raises:
            PromptError: the conversation is malformed, or regions are given both ways. Also the errors of
                [`RegionProcessor.__call__`].
            ConfigurationError: a setting is unknown to this class, the host and the template; or an assistant mask is
                requested, which the host's template cannot give for text that this class expands.
        """
        if kwargs.pop("return_assistant_tokens_mask", False):
            raise ConfigurationError(
                "return_assistant_tokens_mask is not supported here: find the assistant's turns in input_ids instead."
            )
        return_dict = kwargs.pop("return_dict", True)
        conversations, batched = as_conversations(conversation, with_sources=tokenize)
        called = {*_SETTINGS, *TEXT_SETTINGS, *self.host.settings(self.processor)}
        own, of_template = take_chat_settings(
            kwargs, processor_kwargs, called, self.processor, chat_template, type(self).__name__
        )
        beside = own.pop("regions", None)
        if beside is not None and regions is not None:
            raise ConfigurationError("regions are given twice, on their own and in processor_kwargs. Leave one out.")
        regions = regions_of(conversations, beside if regions is None else regions)
        sources: dict[str, list[Any]] = {"video": [], "image": []}
        plain = [plain_conversation(one, sources, self.region_token) for one in conversations]
        texts = [
            self.processor.apply_chat_template(one, chat_template=chat_template, tokenize=False, **of_template)
            for one in plain
        ]
        if not tokenize:
            return texts if batched else texts[0]
        if regions is not None:
            tokens = {kind: getattr(self.processor, f"{kind}_token") for kind in ("video", "image")}
            regions = place_regions(
                conversations, regions, lambda: texts, tokens=tokens, region_token=self.region_token
            )
        inputs = self(text=texts, videos=sources["video"], images=sources["image"], regions=regions, **own)
        return inputs if return_dict else inputs["input_ids"]
