"""Cross attention and Whisper: by hand, in plain loops, and on a tiny network of random weights."""

import json
import struct
import wave

import numpy as np
import pytest

from dysta_gym.accelerators import sanger_layer_latency_s, sanger_padded_length
from dysta_gym.errors import DystaError
from dysta_gym.profiling.attention import profile_attention
from dysta_gym.profiling.speech import read_wave
from dysta_gym.profiling.whisper import Transcriber, load_whisper, read_ctranslate2

LAYERS = 2
WIDTH, VOCABULARY, POSITIONS = 32, 40, 12


def write_ctranslate2(path, weights, version=6):
    kinds = {"<f4": 0, "<i1": 1, "<f2": 4}

    def text(string):
        return struct.pack("<H", len(string) + 1) + string.encode() + b"\0"

    data = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(weights))
    for name, values in weights.items():
        data += text(name) + struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        data += struct.pack("<BI", kinds[values.dtype.str.replace("|", "<")], values.nbytes)
        data += values.tobytes()
    data += struct.pack("<I", 0)  # no other names
    path.write_bytes(data)
    return path


def random_whisper(seed=0):
    """Weights of a tiny Whisper, named and laid out as CTranslate2 has them."""
    random = np.random.default_rng(seed)
    weights = {}

    def put(name, *shape):
        weights[name] = random.normal(scale=0.3, size=shape).astype(np.float16)

    def linear(name, rows, columns):
        put(f"{name}/weight", rows, columns)
        put(f"{name}/bias", rows)

    def norm(name):
        put(f"{name}/gamma", WIDTH)
        put(f"{name}/beta", WIDTH)

    for i, channels in ((1, 80), (2, WIDTH)):
        put(f"encoder/conv{i}/weight", WIDTH, channels, 3)
        put(f"encoder/conv{i}/bias", WIDTH)
    put("encoder/position_encodings/encodings", 1500, WIDTH)
    put("decoder/position_encodings/encodings", POSITIONS, WIDTH)
    put("decoder/embeddings/weight", VOCABULARY, WIDTH)
    for half in ("encoder", "decoder"):
        norm(f"{half}/layer_norm")
        for i in range(LAYERS):
            layer = f"{half}/layer_{i}"
            linear(f"{layer}/self_attention/linear_0", 3 * WIDTH, WIDTH)
            linear(f"{layer}/self_attention/linear_1", WIDTH, WIDTH)
            norm(f"{layer}/self_attention/layer_norm")
            if half == "decoder":
                linear(f"{layer}/attention/linear_0", WIDTH, WIDTH)
                linear(f"{layer}/attention/linear_1", 2 * WIDTH, WIDTH)
                linear(f"{layer}/attention/linear_2", WIDTH, WIDTH)
                norm(f"{layer}/attention/layer_norm")
            linear(f"{layer}/ffn/linear_0", 2 * WIDTH, WIDTH)
            linear(f"{layer}/ffn/linear_1", WIDTH, 2 * WIDTH)
            norm(f"{layer}/ffn/layer_norm")
    return weights


def test_cross_attention_by_hand():
    # 64 queries on 128 keys, width 64, everything kept: 64 * 4 sub-rows in each of 2 columns.
    query_and_output = 64 * 64 * 64 * 2 * 2 / 2048
    key_and_value = 128 * 64 * 64 * 2 * 2 / 2048
    scores = (256 / 64) * ((64 + 64) + (256 + 64)) * 2
    assert sanger_layer_latency_s(1.0, 1.0, 64, 64, 128) == pytest.approx(
        (query_and_output + key_and_value + scores) * 1e-9, rel=1e-12
    )


def test_cross_attention_on_few_scores_by_hand():
    # Width 384, 64 queries on 1536 keys. Density 1/8 at half load is 64 sub-rows a column, one
    # tile's worth; the source charges the output projection by the sub-rows, here a quarter.
    projections = (64 + 2 * 1536) * 384 * 384 * 2 / 2048 + 64 * 384 * 384 * 2 / 2048 / 4
    scores = 1 * ((384 + 64) + (64 + 64)) * 24
    assert sanger_layer_latency_s(1 / 8, 1 / 2, 64, 384, 1536) == pytest.approx(
        (projections + scores) * 1e-9, rel=1e-12
    )


def test_equal_lengths_are_self_attention_to_the_bit():
    random = np.random.default_rng(0)
    density, balance = random.uniform(0.01, 1, size=(2, 200))
    length = 64 * random.integers(1, 30, size=200)
    for width in (384, 576, 768):
        alone = sanger_layer_latency_s(density, balance, length, width)
        assert (alone == sanger_layer_latency_s(density, balance, length, width, length)).all()
        # What the function computed before it knew keys of another length.
        rows = density / balance / 0.25 * length
        linear = length * width * width * 2 * 3 / 2048e9
        tile = (width + 64) + (rows + 64)
        scores = (rows / 64) * tile * (length / 64) / 1e9
        projected = length * width * width * 2 / 2048e9 * density / balance
        assert (alone == linear + scores + projected).all()


def loops(probability, threshold):
    """Kept scores and sub-rows of (heads, queries, keys), score by score."""
    kept = subrows = 0
    for row in probability.reshape(-1, probability.shape[-1]):
        for start in range(0, len(row), 64):
            count = int((row[start : start + 64] > threshold).sum())
            kept += count
            subrows += (count + 15) // 16
    return kept, subrows


def test_encoder_decoder_against_plain_loops(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.WhisperConfig(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_mel_bins=8,
        max_source_positions=100,
        max_target_positions=90,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = transformers.WhisperModel(config).eval()
    for parameter in model.parameters():
        parameter.data *= 8  # else no score differs much from another
    inputs = [
        {
            "input_features": torch.randn(1, 8, 200),
            "decoder_input_ids": torch.randint(VOCABULARY, (1, tokens)),
        }
        for tokens in (3, 70)
    ]
    threshold = 0.01
    profile = profile_attention(
        model,
        inputs,
        name="toy",
        max_length=128,
        max_target_length=80,
        length=[40, 90],
        width=WIDTH,
        threshold=threshold,
        partial=tmp_path / "partial.jsonl",
    )
    for row, tensors in enumerate(inputs):
        with torch.inference_mode():
            output = model(**tensors, output_attentions=True)
        layers = list(output.encoder_attentions)
        for own, cross in zip(output.decoder_attentions, output.cross_attentions, strict=True):
            layers += [own, cross]
        expected = [loops(layer[0].numpy(), threshold) for layer in layers]
        assert list(zip(profile.kept[row], profile.subrows[row], strict=True)) == expected
    assert 0 < profile.density.min() < profile.density[:, :LAYERS].max() < 1

    path = tmp_path / "toy.npz"
    profile.write(path)
    with np.load(path, allow_pickle=False) as file:
        assert file["length"].tolist() == [40, 90]
        assert file["layer_name"].tolist() == [
            "encoder.0.attention",
            "encoder.1.attention",
            "decoder.0.attention",
            "decoder.0.cross_attention",
            "decoder.1.attention",
            "decoder.1.cross_attention",
        ]
        assert file["query_length"].tolist() == [[100, 100, 3, 3, 3, 3], [100, 100] + [70] * 4]
        assert file["key_length"].tolist() == [
            [100, 100, 3, 100, 3, 100],
            [100, 100] + [70, 100] * 2,
        ]
        again = sanger_layer_latency_s(
            file["density"],
            file["load_balance"],
            sanger_padded_length(file["query_length"]),
            json.loads(str(file["meta"]))["settings"]["width"],
            sanger_padded_length(file["key_length"]),
        )
        assert (again == file["latency_s"]).all()
        # The monitor's sparsity is of 128 source and 80 target tokens, for 2 heads.
        full = np.array([128 * 128, 128 * 128, 80 * 80, 80 * 128, 80 * 80, 80 * 128])
        assert file["sparsity"] == pytest.approx(1 - profile.kept / 2 / full)

    # A second call finds everything measured: it never asks the network.
    model.forward = None
    resumed = profile_attention(
        model,
        inputs,
        name="toy",
        max_length=128,
        max_target_length=80,
        width=WIDTH,
        threshold=threshold,
        partial=tmp_path / "partial.jsonl",
    )
    assert (resumed.latency_s == profile.latency_s).all()
    assert resumed.length.tolist() == [100, 100]  # the encoder's, where nothing else is told


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_length": 9}, "^input toy:0 has 10 tokens; expected 9 or fewer"),
        (
            {"max_length": 10, "max_target_length": 4},
            "^output toy:0 has 5 tokens; expected 4 or fewer",
        ),
        ({"max_length": 10}, "max_target_length is None"),
    ],
)
def test_lengths_are_limited(limits, reason):
    torch = pytest.importorskip("torch")

    class Uniform(torch.nn.Module):
        encoder_attentions = (torch.ones(1, 1, 10, 10) / 10,)
        decoder_attentions = (torch.ones(1, 1, 5, 5) / 5,)
        cross_attentions = (torch.ones(1, 1, 5, 10) / 10,)

        def forward(self, output_attentions):
            return self

    with pytest.raises(DystaError, match=reason):
        profile_attention(Uniform(), [{}], name="toy", width=8, **limits)


def test_masks_of_encoder_and_decoder_meet_in_cross_attention():
    torch = pytest.importorskip("torch")

    class Uniform(torch.nn.Module):
        encoder_attentions = (torch.ones(1, 1, 10, 10) / 10,)
        decoder_attentions = (torch.ones(1, 1, 5, 5) / 5,)
        cross_attentions = (torch.ones(1, 1, 5, 10) / 10,)

        def forward(self, output_attentions, attention_mask, decoder_attention_mask):
            return self

    masks = {
        "attention_mask": torch.tensor([[1] * 7 + [0] * 3]),
        "decoder_attention_mask": torch.tensor([[1] * 4 + [0]]),
    }
    limits = {"max_length": 10, "max_target_length": 5}
    profile = profile_attention(Uniform(), [masks], name="toy", width=8, **limits)
    assert profile.kept.tolist() == [[7 * 7, 4 * 4, 4 * 7]]
    assert profile.length.tolist() == [7]


def test_weights_are_read_as_written(tmp_path):
    weights = {
        "a/weight": np.arange(6, dtype=np.float16).reshape(2, 3),
        "b": np.array(7, np.int8),
        "c/bias": np.array([1.5, -2], np.float32),
    }
    read = read_ctranslate2(write_ctranslate2(tmp_path / "model.bin", weights))
    assert list(read) == list(weights)
    for name, values in weights.items():
        assert read[name].dtype == values.dtype
        assert (read[name] == values).all()
        assert read[name].shape == values.shape


def test_damaged_weights_are_refused_in_one_line(tmp_path):
    weights = {"a/weight": np.ones((2, 3), np.float16)}
    path = write_ctranslate2(tmp_path / "model.bin", weights)
    data = path.read_bytes()
    for cut in range(len(data) - 4):  # what follows the weights is not read
        path.write_bytes(data[:cut])
        with pytest.raises(DystaError, match=r"^model\.bin: expected \d+ more bytes at byte \d+"):
            read_ctranslate2(path)

    kind = data.index(struct.pack("<BI", 4, 12))
    for change, reason in (
        (b"\x09" + data[kind + 1 : kind + 5], r"type of a/weight is 9; expected one of \[0, 1"),
        (struct.pack("<BI", 4, 10), r"size of a/weight is 10 bytes; expected \(2, 3\) of float16"),
    ):
        path.write_bytes(data[:kind] + change + data[kind + 5 :])
        with pytest.raises(DystaError, match=reason):
            read_ctranslate2(path)

    write_ctranslate2(path, weights, version=5)
    with pytest.raises(DystaError, match="version of CTranslate2's format is 5; expected 6"):
        read_ctranslate2(path)


def test_a_tiny_whisper_transcribes_greedily(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    weights = random_whisper()
    model = load_whisper(read_ctranslate2(write_ctranslate2(tmp_path / "model.bin", weights)))
    # Queries, keys and values stand one below the other; keys have no bias.
    joined = weights["decoder/layer_1/attention/linear_1/weight"].astype(np.float32)
    attention = model.model.decoder.layers[1].encoder_attn
    assert (attention.k_proj.weight.detach().numpy() == joined[:WIDTH]).all()
    assert (attention.v_proj.weight.detach().numpy() == joined[WIDTH:]).all()
    assert attention.k_proj.bias is None

    samples = np.random.default_rng(0).normal(scale=0.1, size=8000).astype(np.float32)
    suppressed, suppressed_first = [3, 4], [5]
    transcriber = Transcriber(
        model,
        start=[1, 2],
        end=0,
        suppressed=suppressed,
        suppressed_first=suppressed_first,
        max_tokens=POSITIONS,
    )
    with torch.inference_mode():
        output = transcriber(samples)
        # The same without a cache, each token from the whole text before it.
        tokens = [1, 2]
        encoded = output.encoder_last_hidden_state
        while len(tokens) < POSITIONS:
            decoded = model.model.decoder(
                input_ids=torch.tensor([tokens]), encoder_hidden_states=encoded, use_cache=False
            )
            scores = decoded.last_hidden_state[0, -1] @ model.proj_out.weight.T
            ranked = [int(token) for token in scores.argsort(descending=True)]
            banned = {*suppressed, *(suppressed_first if len(tokens) == 2 else [])}
            best = next(token for token in ranked if token not in banned)
            if best == 0:
                break
            tokens.append(best)
    assert transcriber.transcript == tokens[2:]
    assert len(tokens) > 3
    assert [tuple(layer.shape[2:]) for layer in output.encoder_attentions] == [
        (1500, 1500)
    ] * LAYERS
    assert output.cross_attentions[0].shape[2:] == (len(tokens), 1500)
    causal = output.decoder_attentions[0][0].numpy()
    assert (causal[:, ~np.tri(len(tokens), dtype=bool)] == 0).all()


def test_missing_or_wrong_weights_are_refused_in_one_line():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    weights = random_whisper()
    short = weights | {"encoder/layer_0/ffn/layer_norm/beta": np.zeros(3, np.float16)}
    with pytest.raises(
        DystaError, match=r"weights do not fit a Whisper: .*Size\(\[3\]\)"
    ) as refused:
        load_whisper(short)
    assert "\n" not in str(refused.value)
    del weights["decoder/layer_1/attention/linear_1/bias"]
    with pytest.raises(DystaError, match="weight decoder/layer_1/attention/linear_1/bias is miss"):
        load_whisper(weights)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_tone_keeps_its_pitch_and_loudness(tmp_path, rate):
    time = np.arange(rate) / rate
    tone = np.round(16384 * np.sin(2 * np.pi * 440 * time)).astype("<i2")
    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.stack([tone, tone], axis=1).tobytes())
    samples = read_wave(path)
    assert len(samples) == 16000
    spectrum = np.abs(np.fft.rfft(samples))
    assert int(spectrum.argmax()) == 440
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


def test_a_damaged_recording_is_refused(tmp_path):
    path = tmp_path / "broken.wav"
    path.write_bytes(b"RIFF")
    with pytest.raises(DystaError, match=r"broken\.wav cannot be read as a wave file"):
        read_wave(path)
