"""Tests features/cluster.py: a cluster of Ray whose actors are killed gives every row, once, in order."""

import os
import signal
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from pyarrow import parquet

from splinelens.apps.detector import Detector
from splinelens.apps.training import fit_detector
from splinelens.errors import BadCluster, BadFeatures
from splinelens.features.cluster import connected
from splinelens.features.extract import extract
from splinelens.features.reader import CHUNK, TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.files import rows_kept
from splinelens.models import load_model
from tests.apps.conftest import labeled

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="no Ray here"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray sets options that it deprecates
]
TEXTS = [f"text {number} of the garden" for number in range(3 * CHUNK - 3)] + [None, "", "\ud800"]


def test_an_address_where_nothing_answers_is_refused_at_once():
    words = r"no Ray cluster answers at '127.0.0.1:1' .* 'ray start --head'"
    with pytest.raises(BadCluster, match=words), connected("127.0.0.1:1"):
        pass


@pytest.fixture(scope="module")
def cluster():
    """A cluster with place for one actor, which ``connected`` uses while it runs."""
    import ray  # seconds, which no process spends that only collects the tests

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    with connected("local", "cpu") as cluster:
        yield cluster
    ray.shutdown()


def test_shards_of_an_actor_that_dies_run_again_and_come_in_order(cluster, tmp_path):
    def run(log, shard):
        with log.open("a") as file:
            file.write(f"{shard}\n")
        if shard == 2 and log.read_text().count("2\n") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if shard == 5:
            raise BadFeatures("shard 5 cannot be")
        return bytes([shard])

    results = cluster.map(partial(type(tmp_path), tmp_path / "log"), run, range(6))
    assert [next(results) for _ in range(5)] == [bytes([shard]) for shard in range(5)]
    with pytest.raises(BadFeatures, match=r"^shard 5 cannot be$"):
        next(results)
    assert sorted((tmp_path / "log").read_text().split()) == ["0", "1", "2", "2", "3", "4", "5"]


def test_a_stopped_run_goes_on_in_actors_to_the_table_of_an_uninterrupted_one(cluster, folder, tmp_path):
    left = iter(range(CHUNK + 1))

    def stop(texts, characters):
        if next(left, None) is None:
            raise KeyboardInterrupt

    run = partial(extract, TEXTS, folder, features="margins", layers=[0], max_tokens=64)
    whole = run(device="cpu", output=tmp_path / "whole.parquet")
    output = tmp_path / "features.parquet"
    with pytest.raises(KeyboardInterrupt):
        run(device="cpu", output=output, progress=stop)
    assert rows_kept(output)
    told = []
    table = run(ray="local", output=output, progress=lambda *counts: told.append(counts))
    assert told
    assert table.provenance == whole.provenance
    assert table.reasons == whole.reasons
    np.testing.assert_array_equal(table.values, whole.values)


def test_what_cannot_run_on_a_cluster_is_refused(folder, cluster):
    with pytest.raises(BadCluster, match=r"no GPU; .* give --device cpu"), connected("auto", "cuda"):
        pass
    with pytest.raises(BadCluster, match=r"model in memory .* give its name or folder"):
        extract(["a"], load_model(folder), ray="local")


def test_scores_of_a_cluster_are_those_of_one_process(cluster, folder, tmp_path):
    loaded = load_model(folder, device="cpu")
    reader = TextReader(loaded, FeatureSpec(("margins",), max_tokens=24))
    words = {"name": "tiny", "label": "toxic", "negative": "clean", "strengths": (1.0,)}
    detector = fit_detector(*labeled(), reader, **words).artifact
    one, several = tmp_path / "one.parquet", tmp_path / "several.parquet"
    Detector(detector, reader).write_scores(TEXTS[-40:], one, explain=True)
    Detector(detector, reader).write_scores(TEXTS[-40:], several, explain=True, ray="local")
    assert parquet.read_table(one).equals(parquet.read_table(several), check_metadata=True)
