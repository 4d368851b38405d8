"""What several of the networks are shown."""

import numpy as np
import pytest


@pytest.fixture
def people_in(tmp_path):
    """``people_in(part)``: a folder with photos of people, a white square for each, on black.

    The square takes ``part`` of the length of the box around the face, in its middle.
    """
    image = pytest.importorskip("PIL.Image")

    def people_in(part):
        from dysta_gym.profiling import faces

        (tmp_path / "demo").mkdir()
        for file, people in faces.PHOTOS.items():
            pixels = np.zeros((1280, 1920, 3), np.uint8)
            for x, y, size in people:
                half = int(size * part) // 2
                pixels[y - half : y + half, x - half : x + half] = 255
            image.fromarray(pixels).save(tmp_path / file, quality=95)
        return tmp_path

    return people_in
