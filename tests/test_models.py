"""VideoRefer against the reference numbers of the original code, alone and in batches."""

import contextlib
import json
import threading

import pytest
import torch
from safetensors.torch import load_file
from transformers import DynamicCache

import videorefer_plugin as vr
from tests.batches import collate, logits_by_sample, take_samples, tower_rows
from tests.conftest import CASES, TINY, batch_call, case_call
from videorefer_plugin.models.cache import CACHE
from videorefer_plugin.models.videorefer.region_inputs import frames_with_masks

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
NAMES = [case["name"] for case in CASES]
# The reference may write `<region>` into its answers, which this library prevents unless told otherwise.
AS_ORIGINAL = {"do_sample": False, "suppress_tokens": []}
GREEDY = {**AS_ORIGINAL, "max_new_tokens": 12, "repetition_penalty": 1.0, "eos_token_id": None}


@pytest.fixture(params=CASES, ids=NAMES)
def case(request):
    return request.param


@pytest.fixture
def inputs(case, visuals, processor):
    return processor(**case_call(case, visuals))


def new_ids(output, inputs):
    return output[:, inputs["input_ids"].shape[1] :]


def encode_objects(model, inputs):
    """Object tokens of a single sample, and the number of them of each region."""
    frames, rows = frames_with_masks(inputs)
    features = model.model.get_frame_features(frames)
    return model.object_encoder(features, inputs["region_masks"][0], rows, inputs["region_lengths"][0])


# --- one sample at a time --------------------------------------------------------------------------------------------


def test_logits_agree_with_the_original(case, inputs, model):
    expected = load_file(TINY / case["file"])
    with torch.no_grad():
        output = model(**inputs)
    assert inputs["input_ids"].shape[1] == case["spliced_length"]
    torch.testing.assert_close(output.logits, expected["logits"], atol=2e-4, rtol=0)


def test_visual_and_object_tokens_agree_with_the_original(case, inputs, model):
    expected = load_file(TINY / case["file"])
    with torch.no_grad():
        output = model(**inputs)
        if "video_tokens" in expected:
            found = output.video_hidden_states if case["modal"] == "video" else output.image_hidden_states
            torch.testing.assert_close(found, expected["video_tokens"], atol=1e-4, rtol=1e-4)
        if "region_tokens" in expected and case.get("annotation"):
            tokens, counts = encode_objects(model, inputs)
            assert counts.tolist() == case["region_token_nums"]
            torch.testing.assert_close(tokens, expected["region_tokens"], atol=1e-4, rtol=1e-4)


def test_embeddings_handed_to_the_decoder_agree_with_the_original(case, inputs, model):
    expected = load_file(TINY / case["file"])["inputs_embeds"]
    seen = []
    hook = model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs)
    hook.remove()
    torch.testing.assert_close(seen[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.spread(2)
def test_greedy_ids_are_the_originals(case, inputs, model):
    assert new_ids(model.generate(**inputs, **GREEDY), inputs)[0].tolist() == case["greedy_ids"]


@pytest.mark.parametrize("case", [CASES[2], CASES[4]], ids=[NAMES[2], NAMES[4]])
def test_greedy_ids_without_cache_are_the_originals(case, inputs, model):
    output = model.generate(**inputs, **GREEDY, use_cache=False)
    assert new_ids(output, inputs)[0].tolist() == case["greedy_ids"]


@pytest.mark.spread(2)
def test_greedy_ids_are_those_of_repeated_full_forwards(case, inputs, model):
    step = dict(inputs)
    ids = []
    for _ in range(4):
        with torch.no_grad():
            logits = model(**step).logits[:, -1]
        ids.append(int(logits.argmax()))
        assert ids[-1] != model.region_token_id, "the next forward would take it for a region without one"
        step["input_ids"] = torch.cat([step["input_ids"], torch.tensor([[ids[-1]]])], dim=1)
        step["attention_mask"] = torch.ones_like(step["input_ids"])
    assert ids == case["greedy_ids"][:4]


def warns_of(name):
    """What transformers says of the old name of the cache, since it has a new one."""
    if name == "past_key_values" != CACHE:
        return pytest.warns(FutureWarning, match="`past_key_values` is deprecated")
    return contextlib.nullcontext()


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
@pytest.mark.parametrize("part", ["model with its head", "model without"])
def test_forward_goes_on_from_a_cache_under_either_name(part, name, visuals, processor, model):
    inputs = processor(**case_call(next(case for case in CASES if case["name"] == "no_region"), visuals))
    model = model if part == "model with its head" else model.model
    output_name = "logits" if part == "model with its head" else "last_hidden_state"
    ids, mask = (torch.cat([inputs[each], torch.tensor([[1]])], dim=1) for each in ("input_ids", "attention_mask"))
    cache = DynamicCache(config=model.config.text_config)
    with torch.no_grad(), warns_of(name):
        whole = model(**{**inputs, "input_ids": ids, "attention_mask": mask})[output_name]
        first = model(**inputs, **{name: cache})
        last = model(input_ids=ids[:, -1:], attention_mask=mask, **{name: cache})
    torch.testing.assert_close(last[output_name][:, -1], whole[:, -1], atol=1e-5, rtol=1e-5)
    for output in (first, last):
        assert getattr(output, CACHE) is output[CACHE] is cache
        assert output.past_key_values is output["past_key_values"] is cache  # as before transformers 5.24


def test_the_cache_is_the_fourth_argument(model):
    cache = DynamicCache(config=model.config.text_config)
    ids = torch.tensor([[1, 2]])
    with torch.no_grad():
        model(ids, torch.ones_like(ids), None, cache)
    assert cache.get_seq_length() == 2


def test_regions_stand_before_labels(model):
    """Arguments by place are those of the signature, and no region is taken for labels."""
    ids = torch.ones(1, 4, dtype=torch.long)
    given = model(ids, *[None] * 13, ids)
    torch.testing.assert_close(given.loss, model(ids, labels=ids).loss)
    with pytest.raises(vr.TensorError, match="region_frames"):
        model(ids, *[None] * 7, torch.ones(1, 1, 2, 2))
    with pytest.raises(TypeError, match=r"VideoRefer\w+\.forward\(\) takes 19 positional arguments but 31 were given"):
        model(ids, *[None] * 29)
    with pytest.raises(TypeError, match="multiple values for argument 'input_ids'"):
        model(ids, input_ids=ids)


@pytest.mark.parametrize("name", sorted({CACHE, "past_key_values"}))
def test_generation_takes_a_cache(name, visuals, processor, model):
    inputs = processor(**case_call(CASES[0], visuals))
    cache = DynamicCache(config=model.config.text_config)
    with warns_of(name):
        output = model.generate(**inputs, **GREEDY, **{name: cache})
    assert new_ids(output, inputs)[0].tolist() == CASES[0]["greedy_ids"]
    assert cache.get_seq_length() == output.shape[1] - 1


@pytest.mark.spread(2)
def test_answers_of_the_originals_inference_helper(case, inputs, model):
    """With the checkpoint's own generation settings: repetition penalty on generated tokens, two end tokens."""
    output = model.generate(**inputs, **AS_ORIGINAL, max_new_tokens=24)
    assert new_ids(output, inputs)[0].tolist() == case["upstream_infer_ids"]


def test_region_is_never_generated_by_default(visuals, processor, model):
    case = next(case for case in CASES if model.region_token_id in case["upstream_infer_ids"])
    inputs = processor(**case_call(case, visuals))
    ids = new_ids(model.generate(**inputs, do_sample=False, max_new_tokens=24), inputs)[0].tolist()
    first = case["upstream_infer_ids"].index(model.region_token_id)
    assert ids[:first] == case["upstream_infer_ids"][:first]
    assert model.region_token_id not in ids


# --- batches ---------------------------------------------------------------------------------------------------------


def test_ragged_batch_gives_the_logits_of_single_runs(visuals, processor, model):
    """Video, image and text-only samples; 0 to 2 regions; 1 to 9 masks a region; different lengths of text."""
    batch = processor(**batch_call(CASES, visuals))
    with torch.no_grad():
        logits = model(**batch).logits
    for row, case in enumerate(CASES):
        inputs = processor(**case_call(case, visuals))
        with torch.no_grad():
            single = model(**inputs).logits[0]
        torch.testing.assert_close(
            logits[row, -len(single) :],
            single,
            atol=5e-5,  # float32 products of other shapes add up in another order
            rtol=1e-6,
            msg=lambda text, name=case["name"]: f"{name}: {text}",
        )


def test_padding_side_does_not_change_logits(visuals, processor, model):
    call = batch_call(CASES, visuals)
    left, right = processor(**call), processor(**call, padding_side="right")
    with torch.no_grad():
        from_left, from_right = model(**left).logits, model(**right).logits
    for row, mask in enumerate(left["attention_mask"].bool()):
        expected = from_left[row, mask]
        torch.testing.assert_close(from_right[row, : len(expected)], expected, atol=1e-5, rtol=1e-6)


def test_longer_padding_changes_nothing(visuals, processor, model):
    call = batch_call(CASES[:3], visuals)
    short, long = processor(**call), processor(**call, padding="max_length", max_length=160)
    assert long["input_ids"].shape[1] == 160
    with torch.no_grad():
        a, b = model(**short).logits, model(**long).logits
    for row, mask in enumerate(short["attention_mask"].bool()):
        torch.testing.assert_close(b[row, -int(mask.sum()) :], a[row, mask], atol=1e-5, rtol=1e-6)


def test_order_of_samples_does_not_matter(visuals, processor, model):
    forwards, backwards = processor(**batch_call(CASES, visuals)), processor(**batch_call(CASES[::-1], visuals))
    with torch.no_grad():
        a, b = model(**forwards).logits, model(**backwards).logits
    torch.testing.assert_close(a[:, -10:], b.flip(0)[:, -10:], atol=1e-5, rtol=1e-6)


def test_batched_generation_gives_the_answers_of_single_runs(visuals, processor, model):
    batch = processor(**batch_call(CASES, visuals))
    output = new_ids(model.generate(**batch, **GREEDY), batch)
    assert output.tolist() == [case["greedy_ids"] for case in CASES]


@pytest.mark.parametrize("extra", [{"num_beams": 3}, {"num_beams": 4, "num_return_sequences": 3}])
def test_beams_of_a_batch_are_those_of_single_runs(extra, visuals, processor, model):
    settings = {"do_sample": False, "repetition_penalty": 1.0, "max_new_tokens": 6, "eos_token_id": None, **extra}
    returned = extra.get("num_return_sequences", 1)
    batch = processor(**batch_call(CASES, visuals))
    output = new_ids(model.generate(**batch, **settings), batch)
    for row, case in enumerate(CASES):
        inputs = processor(**case_call(case, visuals))
        single = new_ids(model.generate(**inputs, **settings), inputs)
        assert output[row * returned : (row + 1) * returned].tolist() == single.tolist(), case["name"]


def test_one_beam_search_equals_hand_made_scores(visuals, processor, model):
    """The best of six beams over two steps, against every continuation scored by hand."""
    case = CASES[1]
    inputs = processor(**case_call(case, visuals))
    beams = model.generate(
        **inputs, num_beams=6, num_return_sequences=1, max_new_tokens=2, do_sample=False, repetition_penalty=1.0,
        eos_token_id=None, suppress_tokens=[],
    )  # fmt: skip
    with torch.no_grad():
        first = model(**inputs).logits[0, -1].log_softmax(-1)
        best = (float("-inf"), None)
        for token in first.topk(6).indices.tolist():
            step = dict(inputs)
            step["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([[token]])], dim=1)
            step["attention_mask"] = torch.ones_like(step["input_ids"])
            second = model(**step).logits[0, -1].log_softmax(-1)
            best = max(best, ((first[token] + second.max()).item(), [token, int(second.argmax())]))
    assert new_ids(beams, inputs)[0].tolist() == best[1]


def test_sampling_returns_several_answers_to_each_prompt(visuals, processor, model):
    batch = processor(**batch_call(CASES, visuals))
    torch.manual_seed(0)
    output = model.generate(**batch, do_sample=True, num_return_sequences=3, max_new_tokens=5)
    assert output.shape[0] == 3 * len(CASES)
    prompts = output[:, : batch["input_ids"].shape[1]]
    assert torch.equal(prompts, batch["input_ids"].repeat_interleave(3, dim=0))
    assert len({tuple(row) for row in new_ids(output, batch).tolist()}) > len(CASES)


def test_streaming_yields_the_answer(visuals, processor, model):
    from transformers import TextIteratorStreamer

    inputs = processor(**case_call(CASES[1], visuals))
    streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
    thread = threading.Thread(target=model.generate, kwargs={**inputs, **GREEDY, "streamer": streamer})
    thread.start()
    pieces = list(streamer)
    thread.join()
    assert len(pieces) > 1
    assert "".join(pieces) == processor.decode(CASES[1]["greedy_ids"], skip_special_tokens=True)


def test_threads_sharing_a_model_do_not_mix_their_regions(visuals, processor, model):
    cases = [case for case in CASES if case.get("annotation")]
    prepared = [processor(**case_call(case, visuals)) for case in cases]
    answers = {}

    def answer(index):
        for _ in range(3):
            answers.setdefault(index, []).append(
                new_ids(model.generate(**prepared[index], **GREEDY), prepared[index])[0].tolist()
            )

    threads = [threading.Thread(target=answer, args=(index,)) for index in range(len(cases))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {index: [case["greedy_ids"]] * 3 for index, case in enumerate(cases)}


# --- what regions do -------------------------------------------------------------------------------------------------


def test_swapping_two_regions_swaps_their_tokens(visuals, processor, model):
    case = next(case for case in CASES if case["name"] == "two_regions")
    call = case_call(case, visuals)
    swapped = {**call, "regions": [call["regions"][0][::-1]]}
    embeds = []
    hook = model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: embeds.append(kwargs["inputs_embeds"][0]), with_kwargs=True
    )
    with torch.no_grad():
        for arguments in (call, swapped):
            inputs = processor(**arguments)
            model(**inputs)
            embeds[-1] = embeds[-1][inputs["input_ids"][0] == model.region_token_id]
    hook.remove()
    first, second = case["region_token_nums"]
    torch.testing.assert_close(embeds[0], embeds[1].roll(first, dims=0), atol=1e-6, rtol=0)
    assert len(embeds[0]) == first + second


def test_regions_before_the_video_are_assigned_in_order(visuals, processor, model):
    """The original lets such a `<region>` keep its word embedding, and gives its object to the next one."""
    frames = visuals["vid_a.frames"].numpy()
    regions = [vr.Region.from_box((2, 2, 20, 20), frame=3), vr.Region.from_box((30, 20, 60, 44), frame=3)]
    inputs = processor(text="<region> or\n<video>\nor <region>?", videos=frames, regions=regions, return_tensors="pt")
    seen = []
    hook = model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"][0]), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs)
        expected = encode_objects(model, inputs).tokens
    hook.remove()
    places = inputs["input_ids"][0] == model.region_token_id
    assert places.nonzero().flatten().tolist()[0] == 0
    torch.testing.assert_close(seen[0][places], expected, atol=1e-5, rtol=1e-6)


def test_frames_shared_with_the_clip_are_encoded_once(visuals, processor, model):
    """The tower sees a mask-carrying frame on its own only if the clip does not show it already."""
    case = next(case for case in CASES if case["name"] == "multi_frame_one_region")
    inputs = processor(**case_call(case, visuals))
    marked, shown = case["mask_frame_indices"], case["sampled_frame_indices"]
    beyond = len(set(marked) - set(shown))
    assert 0 < beyond < len(marked)
    assert inputs["region_pixel_values"].shape[:2] == (1, beyond)
    with tower_rows(model) as runs:
        (reused,) = logits_by_sample(model, inputs)
    assert runs == [8, beyond]
    # Every frame on its own, as if the clip showed none of them.
    frames, rows = frames_with_masks(inputs)
    copied = {**inputs, "region_pixel_values": frames[None], "region_frames": -1 - rows[None]}
    with tower_rows(model) as runs:
        (alone,) = logits_by_sample(model, copied)
    assert runs == [8, len(marked)]
    torch.testing.assert_close(reused, alone, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("kind", ["image", "video"])
def test_visual_features_come_as_transformers_returns_them(kind, visuals, processor, model):
    case = next(case for case in CASES if case["modal"] == kind)
    name = {"image": "pixel_values", "video": "pixel_values_videos"}[kind]
    pixels = processor(**case_call(case, visuals))[name]
    encode = getattr(model, f"get_{kind}_features")
    with torch.no_grad():
        plain = encode(pixels)
        features, tokens = encode(pixels, return_dict=False)
        states = encode(pixels, output_hidden_states=True, output_attentions=False).hidden_states
    assert plain.hidden_states is None
    assert features.equal(plain.last_hidden_state)
    assert tokens.equal(plain.pooler_output)
    depth = model.config.vision_feature_layer % (model.config.vision_config.num_hidden_layers + 1)
    assert len(states) == depth + 1
    assert states[-1][:, -features.shape[1] :].equal(features)
    assert not states[0].equal(states[-1])
    # The default attention returns no weights.
    for wrong in ({"output_attentions": True}, {"output_hiden_states": True}, {"vision_feature_layer": -1}):
        with pytest.raises(vr.ConfigurationError, match=next(iter(wrong))):
            encode(pixels, **wrong)


def test_batches_that_are_stacked_of_single_samples_give_their_answers(visuals, processor, model):
    cases = [case for case in CASES if case["modal"] == "video"]
    singles = [processor(**case_call(case, visuals)) for case in cases]
    batch = collate(singles, processor.tokenizer.pad_token_id)
    assert new_ids(model.generate(**batch, **GREEDY), batch).tolist() == [case["greedy_ids"] for case in cases]
    for case, logits in zip(cases, logits_by_sample(model, batch), strict=True):
        expected = load_file(TINY / case["file"])["logits"][0]
        torch.testing.assert_close(logits, expected, atol=2e-4, rtol=0)


@pytest.mark.spread(2)
def test_token_types_do_no_harm_in_a_call_of_the_model(inputs, model, processor, case, visuals):
    types = processor(**case_call(case, visuals), return_mm_token_type_ids=True)
    assert types["mm_token_type_ids"].shape == types["input_ids"].shape
    with torch.no_grad():
        assert model(**types).logits.equal(model(**inputs).logits)
        assert model.generate(**types, **GREEDY).equal(model.generate(**inputs, **GREEDY))


def test_object_tokens_can_be_computed_once_and_handed_in(visuals, processor, model):
    case = next(case for case in CASES if case["name"] == "two_regions")
    inputs = processor(**case_call(case, visuals))
    with torch.no_grad():
        expected = model(**inputs).logits
        encoded = {"video": model.get_video_features(inputs["pixel_values_videos"])}
        regions = vr.RegionInputs.collect(dict(inputs))
        tokens, counts = model.get_object_tokens(inputs["input_ids"], regions, encoded)
        found = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            mm_encoder_outputs=encoded,
            object_tokens=tokens,
            object_token_counts=counts,
        ).logits
    assert counts.tolist() == [sum(case["region_token_nums"])]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def training_batch(visuals, processor):
    batch = json.loads((TINY / "train_batch_mixed.json").read_text())
    tensors = load_file(TINY / "train_batch_mixed.safetensors")
    call = {"text": [], "regions": [], "videos": [], "images": []}
    roles = {"human": "user", "gpt": "assistant"}
    for sample in batch["samples"]:
        messages = [{"role": roles[turn["from"]], "content": turn["value"]} for turn in sample["conversations"]]
        call["text"].append(processor.apply_chat_template(messages))
        call["regions"].append([vr.Region.from_annotation(record) for record in sample.get("annotation", [])])
        if "video" in sample:
            call["videos"].append(visuals[f"{sample['video']}.frames"].numpy())
        else:
            call["images"].append(visuals["img_c.frames"][0].numpy())
    inputs = processor(**call, mask_policy="original", padding_side="right", return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    assert not tensors["spliced_attention_mask"][:, length:].any()
    assert torch.equal(inputs["attention_mask"], tensors["spliced_attention_mask"][:, :length])
    return batch, inputs, tensors["spliced_labels"][:, :length]


def test_masks_and_the_frames_below_them_agree_with_the_original(training_batch):
    """The original counts frames of one sample in whatever order, and those of samples without regions."""
    batch, inputs, _ = training_batch
    tensors = load_file(TINY / "train_batch_mixed.safetensors")
    frames = torch.cat([tensors[f"mask_frame_pixel_values.{number}"] for number in range(len(batch["samples"]))])
    visuals = {"video": 0, "image": 0}  # of the samples before
    for number, sample in enumerate(batch["samples"]):
        kind = "video" if "video" in sample else "image"
        own = [visuals[kind]]
        visuals[kind] += 1
        regions = batch["ann_indices_in_batch"][number] if sample.get("annotation") else []
        lengths = [len(region) for region in regions]
        padding = inputs["region_lengths"].shape[1] - len(regions)
        assert inputs["region_lengths"][number].tolist() == lengths + [0] * padding
        masks = inputs["region_masks"][number]
        assert not masks[sum(lengths) :].any()
        assert not inputs["region_frames"][number, sum(lengths) :].any()
        if not regions:
            continue
        single = take_samples(inputs, [number], *([own, []] if kind == "video" else [[], own]))
        single["region_frames"] = single["region_frames"][:, : sum(lengths)]
        pixels, rows = frames_with_masks(single)
        expected = frames[[row for region in regions for row in region]]
        torch.testing.assert_close(pixels[rows], expected, atol=1e-6, rtol=0)
        assert torch.equal(masks[: sum(lengths)], vr.resize_masks(tensors[f"masks.{number}"], 7, "original"))


def test_loss_and_gradient_norms_agree_with_the_original(training_batch, model):
    from videorefer_plugin.models.videollama2.loading import rename_original

    batch, inputs, labels = training_batch
    loss = model(**inputs, labels=labels).loss
    loss.backward()
    assert loss.item() == pytest.approx(batch["loss"], rel=1e-5)
    norms = {
        name: parameter.grad.norm().item()
        for name, parameter in model.named_parameters()
        if "vision_tower" not in name
    }
    expected = {rename_original(name): norm for name, norm in batch["grad_norms"].items()}
    assert norms.keys() == expected.keys()
    for name, norm in expected.items():
        assert norms[name] == pytest.approx(norm, rel=1e-3, abs=1e-9), name


def test_visual_and_region_positions_are_never_learnt(training_batch, model):
    _, inputs, _ = training_batch
    everything = torch.where(inputs["attention_mask"].bool(), inputs["input_ids"], -100)
    special = torch.isin(
        inputs["input_ids"],
        torch.tensor([model.region_token_id, model.config.image_token_id, model.config.video_token_id]),
    )
    with torch.no_grad():
        given = model(**inputs, labels=everything).loss
        masked = model(**inputs, labels=everything.masked_fill(special, -100)).loss
    assert given.item() == masked.item()


def test_accumulated_loss_counts_tokens_of_the_whole_step(training_batch, model):
    _, inputs, labels = training_batch
    with torch.no_grad():
        mean = model(**inputs, labels=labels).loss
        supervised = int((labels[:, 1:] != -100).sum())
        share = model(**inputs, labels=labels, num_items_in_batch=2 * supervised).loss
    assert share.item() == pytest.approx(mean.item() / 2, rel=1e-5)


def test_a_batch_without_regions_still_gives_the_object_encoder_gradients(visuals, processor, model):
    """Else processes of a distributed run would wait for each other's gradients forever."""
    case = next(case for case in CASES if case["name"] == "no_region")
    inputs = processor(**case_call(case, visuals))
    model.train()
    model(**inputs, labels=inputs["input_ids"].clamp(max=300)).loss.backward()
    for name, parameter in model.object_encoder.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


def test_a_batch_of_text_gives_every_trained_part_gradients(visuals, processor, model):
    case = next(case for case in CASES if case["modal"] == "text")
    inputs = processor(**case_call(case, visuals))
    model.train()
    loss = model(**inputs, labels=inputs["input_ids"]).loss
    loss.backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.model.connector.parameters())
    assert all(p.grad is not None for p in model.object_encoder.parameters())
    model.eval()
    with torch.no_grad():
        assert loss.item() == pytest.approx(model(**inputs, labels=inputs["input_ids"]).loss.item(), rel=1e-6)


def test_gradients_reach_the_object_encoder_and_stop_at_a_frozen_tower(training_batch, model):
    _, inputs, labels = training_batch
    model.model.vision_tower.requires_grad_(False)
    try:
        model(**inputs, labels=labels).loss.backward()
        assert all(parameter.grad is None for parameter in model.model.vision_tower.parameters())
        assert all(parameter.grad.any() for parameter in model.object_encoder.parameters())
    finally:
        model.model.vision_tower.requires_grad_(True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_follows_the_model(dtype, visuals, processor):
    from transformers import AutoModel

    from tests.conftest import CHECKPOINT

    half = AutoModel.from_pretrained(CHECKPOINT, dtype=dtype).eval()
    batch = processor(**batch_call(CASES, visuals))
    with torch.no_grad():
        output = half(**batch)
    assert output.logits.dtype == dtype
    assert output.logits.isfinite().all()
    expected = load_file(TINY / CASES[0]["file"])["logits"][0, -1]
    found = output.logits[0, -1].float()
    assert torch.corrcoef(torch.stack([found, expected]))[0, 1] > 0.99
    answers = half.generate(**batch, max_new_tokens=3, do_sample=False)
    assert answers.shape[1] == batch["input_ids"].shape[1] + 3


@needs_gpu
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-3), (torch.bfloat16, None), (torch.float16, None)]
)
def test_on_a_gpu(dtype, tolerance, visuals, processor):
    from transformers import AutoModel

    from tests.conftest import CHECKPOINT

    model = AutoModel.from_pretrained(CHECKPOINT, dtype=dtype, device_map="cuda").eval()
    for case in CASES:
        inputs = processor(**case_call(case, visuals)).to("cuda")
        with torch.no_grad():
            logits = model(**inputs).logits.float().cpu()
        assert logits.isfinite().all()
        if tolerance is not None:
            expected = load_file(TINY / case["file"])["logits"]
            torch.testing.assert_close(logits, expected, atol=tolerance, rtol=0)
        model.generate(**inputs, max_new_tokens=3)


ON_A_GPU = [pytest.param("cuda", dtype, marks=needs_gpu) for dtype in (torch.float32, torch.bfloat16, torch.float16)]


@pytest.mark.spread(2)
@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float32), *ON_A_GPU], ids=str)
def test_sessions_answer_on_every_device(device, dtype, tmp_path):
    """In float32 as a model on the CPU does that is asked question by question, else as one on the same device."""
    from videorefer_plugin import world
    from videorefer_plugin.asking import load_model

    made = world.make_clip(5, "heldout", objects=3, theme="mixed", distinct=True)
    regions = [made.region(number) for number in range(len(made))]
    asked = [("What color is <region>?", [region]) for region in regions] + [("What happens?", [])]
    asked.append(("Where is <region> with respect to <region>?", regions[:2]))
    video, settings = tmp_path / "clip.mp4", {"max_new_tokens": 16}
    world.encode_video(video, made.frames)
    model, processor = load_model(vr.tiny_checkpoint(), dtype=dtype)
    reference = model if dtype == torch.float32 else model.to(device)
    alone = [vr.ask(reference, video, *one, processor=processor, **settings) for one in asked]
    assert all(alone)
    with vr.VideoSession(model.to(device), processor, video) as session:
        answers = session.ask_many(asked, **settings)
        first = [
            session.ask(*asked[0], **settings),
            "".join(session.stream(*asked[0], **settings)),
            session.chat().ask(*asked[0], **settings),
        ]
        assert session.memory() > 0
    if dtype == torch.float32:
        assert answers == alone
        assert first == [answers[0]] * 3
    else:  # where two tokens score alike, rounding decides
        assert sum(one == other for one, other in zip(answers, alone, strict=True)) > len(asked) / 2
        assert all(first)
