"""What a user of transformers, pandas and scikit-learn types, on tiny models."""

import pytest

import splinelens


@pytest.fixture
def tiny_folder(tmp_path, tiny_llama, tiny_tokenizer):
    """The tiny Llama and its tokenizer as a folder."""
    folder = tmp_path / "tiny"
    tiny_llama.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


def test_the_package_offers_what_one_calls_and_errors_in_their_own_module():
    offered = dir(splinelens)
    assert {"Detector", "load_model", "extract", "errors", "__version__"} <= set(offered)
    assert not [name for name in offered if name.startswith(("Bad", "Cannot", "Unknown", "import_"))]
    assert issubclass(splinelens.errors.BadTexts, splinelens.errors.SplinelensError)


def test_a_model_of_a_folder_is_loaded_up_to_some_layers(tiny_folder):
    loaded = splinelens.load_model(tiny_folder, n_layers=2, device="cpu")
    assert loaded.depth == 2
    with pytest.raises(splinelens.errors.BadFeatures, match=r"cannot load 9 blocks: .*tiny has 3"):
        splinelens.load_model(tiny_folder, n_layers=9, device="cpu")
