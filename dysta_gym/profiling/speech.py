"""Real speech to transcribe: telephone prompts and recordings of many people, some with noise."""

from __future__ import annotations

import math
import wave
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dysta_gym.errors import DystaError
from dysta_gym.profiling.sources import Package, fetch

SAMPLE_RATE = 16_000

ASTERISK = Package(
    "debian",
    "asterisk-core-sounds-en-wav",
    "1.6.1-1",
    "CC-BY-SA-3.0",
    "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
)
CODEC2 = Package(
    "debian",
    "codec2-examples",
    "1.0.5-1",
    "LGPL-2.1",
    "7af8cd128f269a1d8116993c9d2bd7d4d452fc17da46a09899aaca2b9bd993d4",
)
POCKETSPHINX = Package(
    "debian",
    "pocketsphinx-testdata",
    "0.8+5prealpha+1-15",
    "BSD-2-Clause",
    "eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0",
)
PACKAGES = (ASTERISK, CODEC2, POCKETSPHINX)

_PROMPTS = "usr/share/asterisk/sounds/en_US_f_Allison"
# Tones and monkeys.
_NOT_SPEECH = {
    "ascending-2tone.wav",
    "beep.wav",
    "beeperr.wav",
    "descending-2tone.wav",
    "tt-monkeys.wav",
}

# Sentences read aloud, and amateur radio; of recordings that are there several times, one.
# fmt: off
_RECORDINGS: tuple[tuple[Package, str, tuple[str, ...]], ...] = (
    (CODEC2, "usr/share/codec2", (
        "raw/speech_orig_16k.wav", "wav/big_dog.wav", "wav/f2400.wav", "wav/forig.wav",
        "wav/hts1a.wav", "wav/hts2a.wav", "wav/m2400.wav", "wav/mmt1.wav", "wav/morig.wav",
        "wav/ve9qrp.wav", "wav/vk5qi.wav", "wav/wia_16kHz.wav",
    )),
    (POCKETSPHINX, "usr/share/pocketsphinx/test/data", (
        "cards/001.wav", "cards/002.wav", "cards/003.wav", "cards/004.wav", "cards/005.wav",
        "librivox/sense_and_sensibility_01_austen_64kb-0870.wav",
        "librivox/sense_and_sensibility_01_austen_64kb-0880.wav",
        "librivox/sense_and_sensibility_01_austen_64kb-0890.wav",
        "librivox/sense_and_sensibility_01_austen_64kb-0920.wav",
        "librivox/sense_and_sensibility_01_austen_64kb-0930.wav",
    )),
)
# fmt: on

SHORTEST_S = 1.5
LONGEST_S = 24.0
UNCUT_S = 10.0  # recordings up to here stay whole
PAUSE_S = (0.15, 0.5)  # between two prompts
SNR_DB = (5.0, 15.0)
NOISY_EVERY = 4  # every so many clips has a noisy copy


@dataclass(frozen=True)
class Clip:
    """A piece of speech: `samples` (time,) at 16 kHz, in float32.

    `group` names what it is a copy of: a clip and its noisy copy are of one group.
    """

    name: str
    condition: str
    group: str
    samples: NDArray[np.float32]


def load_clips(cache: Path, count: int | None = None) -> list[Clip]:
    """`count` clips, evenly spaced over all there are (None for all); each at most 30 s long.

    `phone prompts` are the announcements of a telephone exchange, one studio voice at 8 kHz. Most
    are a phrase, which the exchange joins to longer ones; so they are joined here, in random order
    with short pauses, to clips whose length is drawn from 1.5 s to 24 s, short ones more often than
    long ones. No prompt is used twice; one that is longer than what was drawn is a clip alone.
    `recordings` are other people, read sentences and amateur radio; those over 10 s are cut at
    pauses into clips of such lengths. Every fourth clip has a copy with white noise, 5 to 15 dB
    below the speech; its condition ends in `, noisy`.

    Raises:
        DystaError: If there are fewer clips, or if a package cannot be had.
    """
    clips = []
    clean = [*_phone_prompts(cache), *_recordings(cache)]
    for i, clip in enumerate(clean):
        clips.append(clip)
        if i % NOISY_EVERY == 0:
            clips.append(_noisy(clip))
    if count is None:
        return clips
    if count > len(clips):
        raise DystaError(f"inputs is {count}; expected {len(clips)} or fewer")
    return [clips[k * len(clips) // count] for k in range(count)]


def read_wave(path: Path) -> NDArray[np.float32]:
    """A wave file of 16-bit samples as (time,) in [-1, 1), its channels averaged, at 16 kHz.

    Raises:
        DystaError: If the file is damaged or of another format.
    """
    from scipy.signal import resample_poly

    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise DystaError(f"{path.name} cannot be read as a wave file: {error}") from error
    if width != 2:
        raise DystaError(f"{path.name} has samples of {8 * width} bits; expected 16")
    samples = np.frombuffer(data, "<i2").reshape(-1, channels).mean(axis=1) / 2**15
    common = math.gcd(rate, SAMPLE_RATE)
    resampled = resample_poly(samples, SAMPLE_RATE // common, rate // common)
    return np.asarray(resampled, np.float32)


def _phone_prompts(cache: Path) -> list[Clip]:
    folder = fetch(ASTERISK, cache) / _PROMPTS
    prompts = []
    for path in sorted(folder.rglob("*.wav")):
        if path.parent.name == "silence" or path.name in _NOT_SPEECH:
            continue
        samples = read_wave(path)
        if len(samples) <= LONGEST_S * SAMPLE_RATE:
            prompts.append(samples)
    random = np.random.default_rng(0)
    clips: list[Clip] = []
    order = iter(random.permutation(len(prompts)).tolist())
    first = next(order, None)
    while first is not None:
        target = _draw_length(random)
        parts = [prompts[first]]
        # The prompt that does not fit in any more begins the next clip.
        first = next(order, None)
        while first is not None:
            pause = np.zeros(int(random.uniform(*PAUSE_S) * SAMPLE_RATE), np.float32)
            if sum(map(len, parts)) + len(pause) + len(prompts[first]) > target:
                break
            parts += [pause, prompts[first]]
            first = next(order, None)
        name = f"phone-prompts:{len(clips)}"
        clips.append(Clip(name, "phone prompts", name, np.concatenate(parts)))
    return clips


def _recordings(cache: Path) -> list[Clip]:
    random = np.random.default_rng(1)
    clips = []
    for package, folder, files in _RECORDINGS:
        for file in files:
            samples = read_wave(fetch(package, cache) / folder / file)
            for i, part in enumerate(_cut(samples, random)):
                name = f"recordings:{Path(file).stem}:{i}"
                clips.append(Clip(name, "recordings", name, part))
    return clips


def _cut(
    samples: NDArray[np.float32], random: np.random.Generator
) -> Iterator[NDArray[np.float32]]:
    """Cut a recording into clips, each at the quietest tenth of a second near a drawn length."""
    window = SAMPLE_RATE // 10
    shortest = int(SHORTEST_S * SAMPLE_RATE)
    while len(samples) > UNCUT_S * SAMPLE_RATE:
        target = _draw_length(random)
        low, high = int(0.7 * target), min(int(1.3 * target), len(samples) - shortest)
        if high - low < window:
            break
        power = np.convolve(samples[low:high].astype(np.float64) ** 2, np.ones(window), "valid")
        end = low + int(power.argmin()) + window // 2
        yield samples[:end]
        samples = samples[end:]
    yield samples


def _draw_length(random: np.random.Generator) -> int:
    """A clip's length in samples; its logarithm is uniform."""
    seconds = math.exp(random.uniform(math.log(SHORTEST_S), math.log(LONGEST_S)))
    return int(seconds * SAMPLE_RATE)


def _noisy(clip: Clip) -> Clip:
    random = np.random.default_rng(zlib.crc32(clip.name.encode()))
    ratio = 10 ** (random.uniform(*SNR_DB) / 20)
    loudness = float(np.sqrt(np.mean(clip.samples.astype(np.float64) ** 2)))
    noise = random.normal(scale=loudness / ratio, size=len(clip.samples))
    return replace(
        clip,
        name=f"{clip.name}:noisy",
        condition=f"{clip.condition}, noisy",
        samples=(clip.samples + noise).astype(np.float32),
    )
