from pathlib import Path

from llmfleet_engine.seed import plant


def test_the_seed_comes_into_the_cache_and_leaves_the_rest(tmp_path: Path) -> None:
    seed, cache = tmp_path / "seed", tmp_path / "cache"
    (seed / "modelinfos").mkdir(parents=True)
    (seed / "modelinfos/llama.json").write_text("{}")
    (seed / "modelinfos/llama.json").chmod(0o444)
    (cache / "modelinfos").mkdir(parents=True)
    (cache / "modelinfos/own.json").write_text("[]")
    environment = {"LLMFLEET_CACHE_SEED": str(seed), "VLLM_CACHE_ROOT": str(cache)}
    for _ in range(2):  # a container that starts again finds its cache as it was
        plant(environment)
    assert {path.name for path in (cache / "modelinfos").iterdir()} == {"llama.json", "own.json"}


def test_an_image_without_a_seed_is_left_alone(tmp_path: Path) -> None:
    plant({"VLLM_CACHE_ROOT": str(tmp_path / "cache")})
    plant({"LLMFLEET_CACHE_SEED": str(tmp_path / "seed")})
    assert list(tmp_path.iterdir()) == []
