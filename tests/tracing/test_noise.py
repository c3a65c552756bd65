import numpy as np
import pandas as pd
import pytest
import torch

import toy
from engram.model import tokens
from engram.tracing import noise

KEY = (0, "m", "trace", 5)
TEXTS = pd.DataFrame({"text": toy.TEXT})


def test_sigma_is_a_factor_times_the_unbiased_std_over_all_elements():
    lm, subjects = toy.lm(), ["Beats Music", "Thomas", "Thomas"]
    elements = torch.cat([lm.module("embed").weight[tokens.encode(lm.tokenizer, subject)] for subject in subjects])
    values, tensors = noise.measure(lm, "s3", subjects, None, noise.Config(), 0)
    assert values["sigma"] == pytest.approx(3 * elements.double().std(unbiased=True).item(), rel=1e-12)
    assert values["count"] == elements.numel() and not tensors


@pytest.mark.parametrize("stream", noise.STREAMS)
def test_uniform_in_units_of_the_spread_is_bounded_by_sigma_and_fills_the_range(stream):
    """us3 is the published +-3 standard deviations; its own standard deviation is that over the square root of
    three.
    """
    lm = toy.lm()
    gaussian, _ = noise.measure(lm, "s3", ["Beats Music"], None, noise.Config(), 0)
    values, tensors = noise.measure(lm, "us3", ["Beats Music"], None, noise.Config(), 0)
    assert values["sigma"] == gaussian["sigma"] == 3 * values["embedding_std"] and not tensors
    drawn = noise.load(values, tensors).draw(200, 3, 16, stream, KEY) / values["sigma"]
    assert 0.99 < np.abs(drawn).max() <= 1 and abs(drawn.mean()) < 0.02
    assert drawn.std() == pytest.approx(3**-0.5, abs=0.01)


def test_an_explicit_sigma_is_recorded_beside_the_measured_std():
    values, _ = noise.measure(toy.lm(), 0.1, ["Thomas"], None, noise.Config(), 0)
    assert values["sigma"] == 0.1 and values["embedding_std"] > 0


def test_the_moments_of_a_text_are_those_of_its_tokens():
    lm = toy.lm()
    ids = [i for text in toy.TEXT for i in tokens.encode(lm.tokenizer, text)]
    rows = lm.module("embed").weight[ids].double()
    values, tensors = noise.measure(lm, "m", ["Thomas"], TEXTS, noise.Config(), 0)
    torch.testing.assert_close(tensors["mean"], rows.mean(0))
    torch.testing.assert_close(tensors["factor"] @ tensors["factor"].T, rows.T.cov(), rtol=1e-9, atol=1e-12)
    assert values["text_tokens"] == len(ids)


def test_the_reference_stream_is_randomstate_1_in_c_order():
    drawn = noise.Noise("std", 0.5).draw(3, 2, 4, "reference", KEY)
    np.testing.assert_array_equal(drawn, 0.5 * np.random.RandomState(1).randn(3, 2, 4))
    uniform = noise.Noise("uniform", 0.5).draw(3, 2, 4, "reference", KEY)
    np.testing.assert_array_equal(uniform, 0.5 * np.random.RandomState(1).uniform(-1, 1, (3, 2, 4)))


def test_the_reference_student_scales_the_normal_draw_by_its_chi_squares():
    rng = np.random.RandomState(0)
    vectors = {"mean": rng.randn(4), "factor": rng.randn(4, 4)}
    normal = noise.Noise("normal", None, None, **vectors).draw(3, 2, 4, "reference", KEY)
    student = noise.Noise("student", None, 5.0, **vectors).draw(3, 2, 4, "reference", KEY)
    u = np.random.RandomState(2).chisquare(5, 1000)[:6].reshape(3, 2, 1)
    np.testing.assert_allclose(student, normal * np.sqrt(3 / u))
    np.testing.assert_allclose(normal, vectors["mean"] + np.random.RandomState(1).randn(3, 2, 4) @ vectors["factor"].T)


def test_a_counter_sample_depends_on_its_own_key_alone():
    few, many = (noise.Noise("std", 1.0).draw(samples, 2, 4, "counter", KEY) for samples in (3, 10))
    np.testing.assert_array_equal(few, many[:3])
    other = noise.Noise("std", 1.0).draw(3, 2, 4, "counter", (*KEY[:3], 6))
    assert not np.isclose(few, other).any()
    assert not np.isclose(few[0], few[1]).any()


@pytest.mark.parametrize("kind", ["normal", "student", "uniform", "std"])
@pytest.mark.parametrize("stream", noise.STREAMS)
def test_the_draws_have_the_stated_moments(kind, stream):
    factor = np.linalg.cholesky(np.array([[2.0, 0.5], [0.5, 1.0]]))
    vectors = {"mean": np.array([1.0, -1.0]), "factor": factor} if kind in ("normal", "student") else {}
    samples = 500 if stream == "reference" else 4000
    drawn = noise.Noise(kind, 1.0, 8.0, **vectors).draw(samples, 2, 2, stream, KEY).reshape(-1, 2)
    covariance = {"normal": factor @ factor.T, "uniform": np.eye(2) / 3}.get(kind, np.eye(2))
    if kind != "student":
        np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.25)
        np.testing.assert_allclose(drawn.mean(0), vectors.get("mean", np.zeros(2)), atol=0.15)
    assert drawn.dtype == np.float64


def test_errors():
    with pytest.raises(ValueError, match="needs the table of texts"):
        noise.measure(toy.lm(), "m", ["Thomas"], None, noise.Config(), 0)
    with pytest.raises(ValueError, match="counter"):
        noise.Noise("std", 1.0).draw(1, 1, 1, "legacy", KEY)
    with pytest.raises(ValueError, match="mean and factor"):
        noise.load({"kind": "normal", "rule": "m", "sigma": None, "degrees": None}, {})
