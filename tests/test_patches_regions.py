"""Regions in the original videollama2's own model class, against reference numbers and hand-made splicing."""

import threading

import pytest
import torch
from safetensors.torch import load_file

import videorefer_plugin as vr
from tests.conftest import CASES, CHECKPOINT, TINY, batch_call, case_call
from tests.test_patches import collate, make_trainer
from tests.videollama2_original import KINDS, TOWER, checkpoint_model, folders, load, on_path, qwen2, tiny_model
from videorefer_plugin import patches
from videorefer_plugin.hosts.saving import save_object_encoder
from videorefer_plugin.patches.videollama2 import original_inputs

REGION = 369  # within the tiny table; test_region_id_may_lie_beyond_the_table has one that is not
IMAGE_ID, VIDEO_ID = -200, -201
GREEDY = {"do_sample": False, "max_new_tokens": 6, "repetition_penalty": 1.0, "eos_token_id": None, "pad_token_id": 0}


@pytest.fixture(params=KINDS)
def original(request):
    with on_path(*folders(request.param)):
        patches.apply("videollama2")
        yield request.param


@pytest.fixture
def model(original):
    torch.manual_seed(1)
    return tiny_model().add_object_encoder(region_token_id=REGION)


def clip(seed):
    return torch.randn(2, 3, 42, 42, generator=torch.Generator().manual_seed(seed)), "video"


def image(seed):
    return torch.randn(1, 3, 42, 42, generator=torch.Generator().manual_seed(seed)), "image"


def region_tensors(samples, seed=5):
    """Random masks: for each sample its regions, and for each region the places of the frames that it is seen in."""
    generator = torch.Generator().manual_seed(seed)
    places = [torch.tensor([place for region in own for place in region], dtype=torch.long) for own in samples]
    lengths = [torch.tensor([len(region) for region in own], dtype=torch.long) for own in samples]
    masks = [torch.rand(len(own), 7, 7, generator=generator) > 0.6 for own in places]
    for own in masks:
        own[:, 3, 3] = True
    held = [max([0, *(-own).tolist()]) for own in places]
    pixels = [torch.randn(count, 3, 42, 42, generator=generator) for count in held]
    rows = {"masks": masks, "frames": places, "lengths": lengths, "pixel_values": pixels}
    return {
        f"region_{name}": torch.nn.utils.rnn.pad_sequence(own, batch_first=True, padding_value=0)
        for name, own in rows.items()
    }


def decoder_inputs(model, run):
    """What the language model is given while `run` runs, first call."""
    seen = []
    hook = model.get_model().register_forward_pre_hook(lambda m, args, kwargs: seen.append(kwargs), with_kwargs=True)
    try:
        with torch.no_grad():
            result = run()
    finally:
        hook.remove()
    return seen[0], result


def ragged_batch():
    """Ids padded on the right, with one for every object token. The first id of each sample is not supervised."""
    ids = [
        [1, REGION, VIDEO_ID, 2, REGION, REGION, 3, IMAGE_ID, REGION, 4],  # before, between and after two visuals
        [REGION, 5, 6, VIDEO_ID, REGION, REGION, REGION, REGION],
        [7, 8, 9],  # no visual, no region
        [VIDEO_ID, 10, REGION],
    ]
    longest = max(map(len, ids))
    return {
        "input_ids": torch.tensor([row + [0] * (longest - len(row)) for row in ids]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids]),
        "labels": torch.tensor([[-100, *row[1:]] + [-100] * (longest - len(row)) for row in ids]),
        "images": [clip(0), image(1), clip(2), clip(3), clip(4)],
        **region_tensors([[[1], [3, -1], [2]], [[2], [-1, 1, 2, -2, 1, -3, 2, 1, 2]], [], [[1]]]),
    }


VISUALS = [2, 1, 1, 1]  # of each sample; one without an id takes one all the same
REGIONS = [3, 2, 0, 1]


def sample_of(batch, row):
    """One sample of a batch by itself, without padding."""
    kept = batch["attention_mask"][row].bool()
    visuals = sum(VISUALS[:row])
    single = {name: batch[name][row, kept][None] for name in ("input_ids", "attention_mask", "labels")}
    single["images"] = batch["images"][visuals : visuals + VISUALS[row]]
    if REGIONS[row]:
        lengths, frames = batch["region_lengths"][row, : REGIONS[row]], batch["region_frames"][row]
        count = int(lengths.sum())
        single["region_lengths"], single["region_frames"] = lengths[None], frames[None, :count]
        single["region_masks"] = batch["region_masks"][row][None, :count]
        held = max(0, -int(frames.min()))
        single["region_pixel_values"] = batch["region_pixel_values"][row][None, :held]
    return single


def objects_by_hand(model, batch):
    """Object tokens of a batch, mask by mask: the features of each on its own frame."""
    visuals, tokens = iter(batch["images"]), []
    for row, ids in enumerate(batch["input_ids"]):
        own = [next(visuals) for _ in range(max(int((ids < 0).sum()), 1))]
        shown = [frame for kind in ("video", "image") for frames, its in own if its == kind for frame in frames]
        masks = iter(batch["region_masks"][row])
        places = iter(batch["region_frames"][row].tolist())
        for length in batch["region_lengths"][row].tolist():
            used = [next(places) for _ in range(length)]
            if not used:
                continue
            frames = [shown[at - 1] if at > 0 else batch["region_pixel_values"][row][-at - 1] for at in used]
            features = model.get_vision_tower()(torch.stack(frames)).unflatten(1, (7, 7))
            its_masks = torch.stack([next(masks) for _ in used])
            tokens += model.object_encoder(features, its_masks, torch.arange(length), torch.tensor([length])).tokens
    return tokens


def by_hand(model, batch):
    """Embeddings, labels and attention mask of a batch, id by id."""
    visuals = iter(model.encode_images_or_videos(batch["images"]))
    objects = iter(objects_by_hand(model, batch))
    rows, labels, masks = [], [], []
    for row in range(len(batch["input_ids"])):
        embeds, targets, mask = [], [], []
        has_visual = False
        for token, label, real in zip(
            *(batch[name][row] for name in ("input_ids", "labels", "attention_mask")), strict=True
        ):
            if token < 0:
                has_visual = True
                visual = next(visuals)
                embeds += list(visual)
                targets += [-100] * len(visual)
                mask += [1] * len(visual)
                continue
            region = token == REGION
            embeds.append(next(objects) if region else model.get_input_embeddings()(token))
            targets.append(-100 if region else int(label))
            mask.append(int(real))
        if not has_visual:
            next(visuals)
        rows.append(torch.stack(embeds))
        labels.append(torch.tensor(targets))
        masks.append(torch.tensor(mask))
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(rows, True), pad(labels, True, -100), pad(masks, True)


# --- splicing --------------------------------------------------------------------------------------------------------


def test_forward_is_hand_made_splicing(model):
    batch = ragged_batch()
    with torch.no_grad():
        embeds, labels, mask = by_hand(model, batch)
    given, output = decoder_inputs(model, lambda: model(**batch))
    assert given["inputs_embeds"].shape == embeds.shape
    torch.testing.assert_close(given["inputs_embeds"], embeds, atol=1e-6, rtol=1e-5)
    assert torch.equal(given["attention_mask"], mask)
    with torch.no_grad():
        expected = model(inputs_embeds=embeds, attention_mask=mask, labels=labels)
    torch.testing.assert_close(output.logits, expected.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(output.loss, expected.loss)
    logits = expected.logits[:, :-1].flatten(0, 1)
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten()))


def test_every_object_token_stands_at_its_region(model):
    """Place by place: without its object, exactly the places of a region change."""
    batch = ragged_batch()
    changed = {**batch, "region_masks": batch["region_masks"].clone()}
    changed["region_masks"][0, 1:3] = ~changed["region_masks"][
        0, 1:3
    ]  # the second region of the first sample: two tokens
    before, _ = decoder_inputs(model, lambda: model(**batch))
    after, _ = decoder_inputs(model, lambda: model(**changed))
    differ = (before["inputs_embeds"] != after["inputs_embeds"]).any(-1).nonzero().tolist()
    tokens = len(model.encode_images_or_videos([clip(0)])[0])
    assert differ == [[0, 3 + tokens], [0, 4 + tokens]]  # ids 4 and 5, behind one visual


def test_ragged_batch_gives_the_logits_of_single_runs(model):
    batch = ragged_batch()
    given, output = decoder_inputs(model, lambda: model(**batch))
    for row in range(4):
        with torch.no_grad():
            single = model(**sample_of(batch, row)).logits[0]
        kept = given["attention_mask"][row].bool()
        torch.testing.assert_close(output.logits[row, kept], single, atol=1e-5, rtol=0)


def test_left_padding_gives_the_logits_of_right_padding(model):
    batch = ragged_batch()
    order = batch["attention_mask"].argsort(dim=1, stable=True)
    left = {**batch, **{n: batch[n].gather(1, order) for n in ("input_ids", "attention_mask", "labels")}}
    right_given, right = decoder_inputs(model, lambda: model(**batch))
    left_given, from_left = decoder_inputs(model, lambda: model(**left))
    for row in range(4):
        expected = right.logits[row, right_given["attention_mask"][row].bool()]
        found = from_left.logits[row, left_given["attention_mask"][row].bool()]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(from_left.loss, right.loss)


def test_a_batch_without_a_mask_is_masked_where_visuals_make_it_ragged(model):
    batch = {
        "input_ids": torch.tensor([[VIDEO_ID, 1, REGION], [2, 3, 4]]),
        "images": [clip(0), clip(1)],
        **region_tensors([[[1]], []]),
    }
    given, output = decoder_inputs(model, lambda: model(**batch))
    assert given["attention_mask"].sum(1).tolist() == [51, 3]
    with torch.no_grad():
        single = model(input_ids=batch["input_ids"][1:], images=[clip(1)]).logits[0]
    torch.testing.assert_close(output.logits[1, :3], single, atol=1e-5, rtol=0)
    alone = {**batch, "input_ids": batch["input_ids"][:1], "images": [clip(0)], **region_tensors([[[1]]])}
    given, _ = decoder_inputs(model, lambda: model(**alone))
    assert given["attention_mask"] is None


def test_region_id_may_lie_beyond_the_table(original, model):
    batch = ragged_batch()
    with torch.no_grad():
        expected = model(**batch)
        model.config.region_token_id = 10**6
        moved = batch["input_ids"].masked_fill(batch["input_ids"] == REGION, 10**6)
        labels = batch["labels"].masked_fill(batch["labels"] == REGION, 10**6)
        output = model(**{**batch, "input_ids": moved, "labels": labels})
    assert torch.equal(output.logits, expected.logits)
    assert torch.equal(output.loss, expected.loss)


def test_without_regions_the_model_is_the_original_bit_for_bit(original):
    torch.manual_seed(1)
    model = tiny_model()
    batch = {
        "input_ids": torch.tensor([[1, VIDEO_ID, 2, 3], [VIDEO_ID, 4, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
        "labels": torch.tensor([[1, -100, 2, 3], [-100, 4, -100, -100]]),
        "images": [clip(0), clip(1)],
    }
    prompt = {"inputs": batch["input_ids"][:1], "attention_mask": torch.ones(1, 4), "images": [clip(0)]}
    results = []
    for step in ("patched", "with an object encoder", "training", "undone"):
        if step == "with an object encoder":
            model.add_object_encoder(region_token_id=REGION)
        if step == "undone":
            model.eval()
            patches.undo("videollama2")
            patches.apply("videollama2", skip=("regions",))  # which the original itself may need to generate
        model.train(step == "training")
        with torch.no_grad():
            output = model(**batch)
            results.append((output.logits, output.loss, model.generate(**prompt, **GREEDY)))
    for result in results[:-1]:
        assert all(torch.equal(found, expected) for found, expected in zip(result, results[-1], strict=True))


def test_rows_of_samples_without_regions_may_be_left_out(model):
    batch = ragged_batch()
    fewer = {name: value[[0, 1, 3]] if name.startswith("region_") else value for name, value in batch.items()}
    with torch.no_grad():
        assert torch.equal(model(**fewer).logits, model(**batch).logits)


def test_tensors_that_hold_no_region_change_nothing(model):
    batch = {"input_ids": torch.tensor([[VIDEO_ID, 1, 2]]), "images": [clip(0)]}
    empty = {name: value[[2]] for name, value in ragged_batch().items() if name.startswith("region_")}
    empty["region_pixel_values"] = empty["region_pixel_values"][:, :0]
    with torch.no_grad():
        assert torch.equal(model(**batch, **empty).logits, model(**batch).logits)


def test_the_tower_encodes_each_frame_with_masks_once(model):
    """Four prompts about the same two frames, one of which their clip shows."""
    single = {"input_ids": torch.tensor([[VIDEO_ID, 1, REGION, REGION, REGION]]), "images": [clip(0)]}
    single.update(region_tensors([[[2, -1], [2]]]))
    four = {name: value * 4 if name == "images" else torch.cat([value] * 4) for name, value in single.items()}
    seen = []
    hook = model.get_vision_tower().register_forward_hook(lambda module, args, output: seen.append(len(output)))
    with torch.no_grad():
        logits = model(**four).logits
    hook.remove()
    assert seen == [2, 8]  # those with masks, and the clips, which are the original's to encode
    with torch.no_grad():
        torch.testing.assert_close(logits, model(**single).logits.expand(4, -1, -1), atol=1e-5, rtol=0)


# --- generation ------------------------------------------------------------------------------------------------------


def test_generation_is_that_of_repeated_full_forwards(model):
    single = sample_of(ragged_batch(), 1)
    del single["labels"]
    output = model.generate(**single, **GREEDY)
    ids = []
    for _ in range(GREEDY["max_new_tokens"]):
        step = {**single, "input_ids": torch.cat([single["input_ids"], torch.tensor([ids], dtype=torch.long)], dim=1)}
        step["attention_mask"] = torch.ones_like(step["input_ids"])
        with torch.no_grad():
            ids.append(int(model(**step).logits[0, -1].argmax()))
        assert ids[-1] != REGION
    assert output[0].tolist() == ids


@pytest.mark.spread(2)
@pytest.mark.parametrize("extra", [{}, {"num_beams": 3}, {"num_beams": 3, "num_return_sequences": 2}], ids=str)
def test_ragged_batch_generates_what_single_runs_do(extra, model):
    """The original leaves padding between a prompt and its answer; with regions it goes to the left."""
    batch = ragged_batch()
    del batch["labels"]
    output = model.generate(**batch, **GREEDY, **extra)
    returned = extra.get("num_return_sequences", 1)
    for row in range(4):
        single = sample_of({**batch, "labels": batch["input_ids"]}, row)
        del single["labels"]
        alone = model.generate(**single, **GREEDY, **extra)
        assert output[row * returned : (row + 1) * returned].tolist() == alone.tolist()


def test_a_generated_region_id_is_text(model):
    single = sample_of(ragged_batch(), 1)
    inputs = {"inputs": single.pop("input_ids"), **{name: single[name] for name in single if name != "labels"}}
    only_region = torch.full((1, model.config.vocab_size), -1e9)
    only_region[:, REGION] = 0
    output = model.generate(**inputs, **GREEDY, logits_processor=[lambda ids, scores: scores + only_region])
    assert output[0].tolist() == [REGION] * GREEDY["max_new_tokens"]


def test_threads_sharing_a_model_do_not_mix_their_regions(model):
    batch = ragged_batch()
    singles = [sample_of(batch, row) for row in (0, 1, 3)]
    with torch.no_grad():
        expected = [model(**single).logits for single in singles]
    found = [[] for _ in singles]

    def run(index):
        with torch.no_grad():
            found[index] += [model(**singles[index]).logits for _ in range(5)]

    threads = [threading.Thread(target=run, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, logits in enumerate(found):
        assert len(logits) == 5
        assert all(torch.equal(each, expected[index]) for each in logits)


# --- training --------------------------------------------------------------------------------------------------------


def test_gradients_reach_the_object_encoder(model):
    model.train()
    batch = ragged_batch()
    model(**batch).loss.backward()
    for name, parameter in model.object_encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert all(parameter.grad is None for parameter in model.get_vision_tower().parameters())


def test_a_training_batch_without_regions_gives_gradients_of_zero(model):
    model.train()
    model(**sample_of(ragged_batch(), 2)).loss.backward()
    for parameter in model.object_encoder.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


def test_the_originals_trainer_trains_the_object_encoder(model, tmp_path):
    def collate_with_regions(samples):
        batch = collate(samples)
        batch["input_ids"][:, 2] = REGION
        batch["labels"][:, 2] = REGION
        return {**batch, **region_tensors([[[1]], [[-1]]], seed=7)}

    model.requires_grad_(False)
    model.object_encoder.requires_grad_(True)
    trainer = make_trainer(tmp_path, collate_with_regions, model, remove_unused_columns=True)
    assert "region_masks" in (trainer._set_signature_columns_if_needed() or trainer._signature_columns)
    before = [parameter.detach().clone() for parameter in model.object_encoder.parameters()]
    loss = trainer.train().training_loss
    assert 0 < loss < 20
    assert all(not torch.equal(a, b) for a, b in zip(before, model.object_encoder.parameters(), strict=True))


# --- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_videorefer_in_the_originals_class_agrees_with_the_reference(case, original, visuals, processor):
    model = checkpoint_model()
    inputs = original_inputs(processor(**case_call(case, visuals)), processor)
    expected = load_file(TINY / case["file"])
    given, output = decoder_inputs(model, lambda: model(**inputs))
    if case["modal"] != "text":
        torch.testing.assert_close(given["inputs_embeds"], expected["inputs_embeds"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.logits, expected["logits"], atol=2e-4, rtol=0)
    settings = {"do_sample": False, "repetition_penalty": 1.0, "eos_token_id": None, "max_new_tokens": 12}
    assert model.generate(**inputs, **settings)[0].tolist() == case["greedy_ids"]


def test_batches_of_the_processor_are_rewritten(original, visuals, processor):
    """Images, videos and text alone, with and without regions, in one batch."""
    model = checkpoint_model()
    batch = processor(**batch_call(CASES, visuals))
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    labels[(batch["input_ids"] == processor.video_token_id) | (batch["input_ids"] == processor.image_token_id)] = -100
    first = batch["attention_mask"].argmax(dim=1, keepdim=True)  # nothing but padding predicts it
    labels.scatter_(1, first, -100)
    inputs = original_inputs({**batch, "labels": labels}, processor)
    assert inputs["input_ids"].shape == inputs["attention_mask"].shape == inputs["labels"].shape
    given, output = decoder_inputs(model, lambda: model(**inputs))
    for row, case in enumerate(CASES):
        expected = load_file(TINY / case["file"])["logits"][0]
        torch.testing.assert_close(
            output.logits[row, given["attention_mask"][row].bool()], expected, atol=2e-4, rtol=0, msg=case["name"]
        )
    with torch.no_grad():
        ours = vr_model()(**{**batch, "labels": labels}).loss
    torch.testing.assert_close(output.loss, ours, atol=1e-4, rtol=0)
    greedy = {**GREEDY, "max_new_tokens": 12}
    del inputs["labels"]
    assert model.generate(**inputs, **greedy).tolist() == [case["greedy_ids"] for case in CASES]


def test_a_sample_may_hold_several_visuals(original, visuals, processor):
    """Videos and images in any turn, with regions on each, beside a sample without a visual: as in our own model."""
    still = visuals["img_c.frames"][0].numpy()
    first, second = (visuals[f"{name}.frames"].numpy() for name in ("vid_a", "vid_b"))
    box = (4, 4, 30, 30)
    batch = processor(
        text=[
            "<image>\nIs <region> in <video>? It is <region>, or <region>.",
            "Hello!",
            "<video>\nWhat is <region>? A dog. <video><video>\nAnd <region>?",
        ],
        images=[still],
        videos=[first, second, first, second],
        regions=[[vr.Region.from_box(box, frame=frame) for frame in own] for own in ([0, 0, 13], [], [8, 7])],
        return_tensors="pt",
    )
    assert (batch["region_frames"] > 0).any()
    assert (batch["region_frames"] < 0).any()
    with torch.no_grad():
        expected = vr_model()(**batch).logits
    mask = batch["attention_mask"].bool()
    inputs = original_inputs({**batch, "attention_mask": mask}, processor)
    assert torch.equal(mask, batch["attention_mask"].bool())  # as it was
    assert [kind for _, kind in inputs["images"]] == ["image", "video", "image", "video", "video", "video"]
    model = checkpoint_model()
    given, output = decoder_inputs(model, lambda: model(**inputs))
    for row in range(3):
        found = output.logits[row, given["attention_mask"][row].bool()]
        torch.testing.assert_close(found, expected[row, mask[row]], atol=2e-4, rtol=0)


def vr_model():
    return vr.VideoReferForConditionalGeneration.from_pretrained(CHECKPOINT).eval()


def test_saving_the_model_saves_the_object_encoder(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = qwen2().from_pretrained(tmp_path).eval()
    assert loaded.region_token_id == REGION
    batch = ragged_batch()
    with torch.no_grad():
        assert torch.equal(loaded(**batch).logits, model(**batch).logits)


def test_a_videorefer_checkpoint_survives_saving(original, visuals, processor, tmp_path):
    model = checkpoint_model()
    model.save_pretrained(tmp_path)
    loaded = qwen2().from_pretrained(tmp_path).eval()
    inputs = original_inputs(processor(**case_call(CASES[1], visuals)), processor)
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)


def test_the_object_encoder_travels_alone(model, tmp_path):
    model.save_object_encoder(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "object_encoder.safetensors",
        "object_encoder_config.json",
    ]
    other = tiny_model().load_object_encoder(tmp_path)
    batch = ragged_batch()
    with torch.no_grad():
        assert torch.equal(other(**batch).logits, model(**batch).logits)
    with torch.no_grad():
        other.object_encoder.projector[0].weight.zero_()
    other.load_object_encoder(tmp_path)
    assert torch.equal(other.object_encoder.projector[0].weight, model.object_encoder.projector[0].weight)


def test_the_object_encoder_moves_to_this_librarys_port_and_back(model, original, tmp_path):
    source = checkpoint_model()
    source.save_object_encoder(tmp_path / "original")
    port = vr.VideoLLaMA2ForConditionalGeneration.from_pretrained(CHECKPOINT)
    vr.load_object_encoder(port, tmp_path / "original")
    port.save_object_encoder(tmp_path / "port")
    model.load_object_encoder(tmp_path / "port")
    for name, value in source.object_encoder.state_dict().items():
        assert torch.equal(port.object_encoder.state_dict()[name], value)
        assert torch.equal(model.object_encoder.state_dict()[name], value)


def test_what_a_videorefer_model_saved_is_loaded(model, original, tmp_path):
    source = vr.VideoReferForConditionalGeneration.from_pretrained(CHECKPOINT)
    save_object_encoder(source, tmp_path)
    for target in (model, tiny_model()):
        target.load_object_encoder(tmp_path)
        for name, value in source.object_encoder.state_dict().items():
            assert torch.equal(target.object_encoder.state_dict()[name], value)


# --- bad input -------------------------------------------------------------------------------------------------------


def bad_batch(**changes):
    return {**sample_of(ragged_batch(), 1), **changes}


def one_region(place, **changes):
    """One region on one frame of one clip of two frames."""
    ids = torch.tensor([[VIDEO_ID, 1, REGION]])
    return {"input_ids": ids, "images": [clip(0)], **region_tensors([[[place]]]), **changes}


BAD = [
    pytest.param({"inputs_embeds": torch.zeros(1, 8, 48)}, vr.PromptError, "found in inputs_embeds", id="embeds"),
    pytest.param({"images": None}, vr.PromptError, "no images", id="no-images"),
    pytest.param({"region_lengths": None}, vr.TensorError, "region_lengths is missing", id="incomplete"),
    pytest.param({"region_masks": torch.ones(1, 10, 5, 5)}, vr.TensorError, r"max_masks, 7, 7\)", id="grid"),
    pytest.param(
        {"region_pixel_values": torch.zeros(1, 4, 3, 30, 30)}, vr.TensorError, r"max_frames, 3, 42, 42\)", id="size"
    ),
    pytest.param(
        {"input_ids": torch.tensor([[VIDEO_ID, REGION, REGION]])}, vr.PromptError, "Sample 0 .* 2 <region>", id="few"
    ),
    pytest.param({"input_ids": torch.tensor([[1, VIDEO_ID, 2]])}, vr.PromptError, "has 0 <region>", id="none"),
    pytest.param(
        {"input_ids": torch.tensor([[REGION]]), **region_tensors([[[-1]]])}, vr.PromptError, "no visual", id="short"
    ),
    pytest.param(one_region(3), vr.TensorError, r"frame 3 of sample 0, but .* show 2 frame\(s\)", id="beyond"),
    pytest.param(
        one_region(1, input_ids=torch.tensor([[1, REGION]])), vr.TensorError, r"show 0 frame\(s\)", id="nothing-shown"
    ),
    pytest.param(
        one_region(-2, region_pixel_values=torch.ones(1, 1, 3, 42, 42)), vr.TensorError, "frame -2", id="beyond-held"
    ),
    pytest.param(one_region(1, images=[]), vr.PromptError, r"1 id\(s\) of visuals, but 0 of the 0", id="few-images"),
    pytest.param(one_region(1, images=clip(0)[0]), vr.TensorError, "images must be a list", id="images-tensor"),
    pytest.param(one_region(1, images=[clip(0)[0]]), vr.TensorError, r"images\[0\] must be", id="images-no-kind"),
    pytest.param(
        one_region(1, images=[(torch.zeros(2, 3, 30, 30), "video")]),
        vr.TensorError,
        r"images\[0\] must .* \(num_frames, 3, 42, 42\), but is .*30, 30",
        id="images-size",
    ),
    pytest.param(
        one_region(1, images=[(torch.full((2, 3, 42, 42), torch.nan), "video")]),
        vr.TensorError,
        r"images\[0\] holds NaN",
        id="images-nan",
    ),
    pytest.param(
        {name: value[0] for name, value in one_region(1).items() if name.startswith("region_")},
        vr.TensorError,
        "earlier version",
        id="old-layout",
    ),
    pytest.param({"region_clip_frames": torch.tensor([0])}, vr.TensorError, "earlier version", id="old-name"),
]


@pytest.mark.spread(6)
@pytest.mark.parametrize("method", ["forward", "generate"])
@pytest.mark.parametrize(("changes", "error", "message"), BAD)
def test_bad_input_is_refused(changes, error, message, method, model):
    if method == "generate" and "inputs_embeds" in changes:
        error, message = NotImplementedError, "inputs_embeds"  # as before
    batch = bad_batch(**changes)
    del batch["labels"]
    if batch["input_ids"].shape != batch["attention_mask"].shape:
        del batch["attention_mask"]
    with pytest.raises(error, match=message):
        model(**batch) if method == "forward" else model.generate(**batch, **GREEDY)


def test_regions_missing_for_a_placeholder_are_noticed(model):
    batch = {name: value for name, value in bad_batch().items() if not name.startswith("region_")}
    with pytest.raises(vr.PromptError, match="Sample 0"):
        model(**batch)


def test_regions_without_an_object_encoder_are_refused(original):
    with pytest.raises(vr.ConfigurationError, match=r"no object encoder.*add_object_encoder"):
        tiny_model()(**bad_batch())
    with pytest.raises(vr.ConfigurationError, match="no object encoder"):
        tiny_model().save_object_encoder("anywhere")


def test_object_encoders_that_do_not_fit_are_refused(model, tmp_path):
    with pytest.raises(vr.ConfigurationError, match="has an object encoder already"):
        model.add_object_encoder(region_token_id=REGION)
    with pytest.raises(vr.ConfigurationError, match="must be the id of <region>, but None"):
        tiny_model().add_object_encoder()
    with pytest.raises(vr.ConfigurationError, match="vision_hidden_size is 64, but must be 32"):
        tiny_model().add_object_encoder(vr.ObjectEncoderConfig(64, 48), region_token_id=REGION)
    model.save_object_encoder(tmp_path)
    file = tmp_path / "object_encoder_config.json"
    file.write_text(file.read_text().replace('"videollama2"', '"qwen3_vl"'))
    with pytest.raises(vr.CheckpointError, match="'qwen3_vl' host"):
        model.load_object_encoder(tmp_path)
    file.write_text(file.read_text().replace('"qwen3_vl"', '"videollama2"'))
    (tmp_path / "object_encoder.safetensors").write_bytes(b"nothing")
    with pytest.raises(vr.CheckpointError, match="cannot be loaded"):
        model.load_object_encoder(tmp_path)


def test_towers_without_a_grid_are_refused(model):
    tower = model.get_vision_tower()
    whole = tower.forward
    tower.forward = lambda pixels: whole(pixels)[:, 1:]
    with pytest.raises(vr.ConfigurationError, match="48 features a frame"):
        model(**{**bad_batch(), "images": [clip(0)]})


def test_batches_that_cannot_be_rewritten_are_refused(visuals, processor):
    batch = dict(processor(**case_call(CASES[1], visuals)))
    with pytest.raises(vr.TensorError, match="return_tensors='pt'"):
        original_inputs({**batch, "input_ids": batch["input_ids"].tolist()}, processor)
    with pytest.raises(vr.TensorError, match=r"Sample 0 .*no video left"):
        original_inputs({name: value for name, value in batch.items() if name != "pixel_values_videos"}, processor)
    with pytest.raises(vr.TensorError, match=r"1 image\(s\) are left over"):
        original_inputs({**batch, "pixel_values": torch.zeros(1, 3, 42, 42)}, processor)
    ids = batch["input_ids"].clone()
    ids[0, (ids[0] == processor.video_token_id).nonzero()[0]] = 0
    with pytest.raises(vr.TensorError, match=r"Sample 0 has \d+ id\(s\) of <video> left for a video that takes"):
        original_inputs({**batch, "input_ids": ids}, processor)
    frames = visuals["vid_a.frames"].numpy()
    batch = processor(text=["<video>"] * 2, videos=[frames, frames[:4]], do_sample_frames=False, return_tensors="pt")
    with pytest.raises(vr.TensorError, match=r"20, 4 frames, but the original takes clips of one length"):
        original_inputs(batch, processor)


def test_a_splicing_that_gives_no_labels_is_refused(original):
    """An original whose splicing works differently, although its signature is the expected one."""
    load()
    patches.undo("videollama2")
    arch = load("videollama2.model.videollama2_arch").Videollama2MetaForCausalLM
    whole = arch.prepare_inputs_labels_for_multimodal

    def without_labels(self, input_ids, attention_mask, past_key_values, labels, images):
        return (*whole(self, input_ids, attention_mask, past_key_values, labels, images)[:4], None)

    arch.prepare_inputs_labels_for_multimodal = without_labels
    try:
        patches.apply("videollama2")
        model = tiny_model(mm_vision_tower=str(TOWER)).add_object_encoder(region_token_id=REGION)
        with pytest.raises(vr.PatchError, match="does not return labels"):
            model(**bad_batch())
    finally:
        arch.prepare_inputs_labels_for_multimodal = whole
