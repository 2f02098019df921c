"""What happens if recording fails or a GPU's memory is full, tested without a GPU."""

import gc
import threading

import pytest
import torch

from lseg_ros.inference import cuda_graphs
from lseg_ros.inference.cuda_graphs import (
    Body,
    Recorder,
    free_cached,
    full_memory_said,
    is_out_of_memory,
    retiring,
    to_host,
    wait_for,
)

CUDA = torch.device("cuda")  # a name is all that is needed of it here
FULL = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMuch advice follows.")


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *device: (3 * 2**20, 8000 * 2**20))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


class Failing(Recorder):
    """Fails as PyTorch does: the end of the recording raises another error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(CUDA)
        self.error = error

    def _graph_of(self, body: Body) -> torch.cuda.CUDAGraph:
        try:
            raise self.error
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


def test_a_failed_recording_is_said_once_by_what_led_to_it(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Failing(RuntimeError("CUDA error: operation not permitted when stream is capturing\npages of advice"))
    calls: list[int] = []
    for _ in range(2):
        run, captured = recorder.record(lambda: calls.append(1), "encoder for images of 640x480")
        run()
        assert not captured
    assert calls == [1, 1]
    assert (
        caplog.text.count("no CUDA graph of the encoder for images of 640x480 (RuntimeError: CUDA error: operation ")
        == 1
    )
    assert "not permitted when stream is capturing); it runs step by step" in caplog.text
    assert "advice" not in caplog.text and not recorder.worth_another_try()


def test_a_recording_without_memory_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(cuda_graphs.time, "monotonic", lambda: now[0])
    recorder = Failing(FULL)
    recorder.record(lambda: None, "encoder")
    assert not recorder.worth_another_try()
    now[0] += cuda_graphs._AGAIN + 1
    assert recorder.worth_another_try()
    assert not recorder.worth_another_try(), "once for each failure"


def test_full_memory_is_one_sentence_and_room_is_made() -> None:
    made: list[str] = []
    with (
        pytest.raises(torch.cuda.OutOfMemoryError) as error,
        full_memory_said(CUDA, "1280x720 pixels", lambda: made.append("room")),
    ):
        raise FULL
    assert made == ["room"]
    assert str(error.value).startswith("cuda has too little memory for 1280x720 pixels: 3 of its 8000 MB are free")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (FULL, True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("FIND was unable to find an engine to execute this computation"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_what_libraries_say_of_full_memory(*, error: RuntimeError, full: bool) -> None:
    assert is_out_of_memory(error) == full


def test_the_same_words_mean_something_else_where_memory_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *device: (2**33, 2**34))
    assert not is_out_of_memory(RuntimeError("FIND was unable to find an engine to execute this computation"))


def test_other_errors_stay_as_they_are() -> None:
    with (
        pytest.raises(RuntimeError, match="shapes"),
        full_memory_said(CUDA, "x", lambda: pytest.fail("no room is needed")),
    ):
        raise RuntimeError("shapes differ")


def test_on_a_cpu_nothing_is_recorded() -> None:
    def body() -> None:
        pass

    assert Recorder(torch.device("cpu")).record(body, "x") == (body, False)
    assert to_host(torch.ones(2)).tolist() == [1, 1]


def test_host_memory_outlives_its_buffer_until_nothing_is_recorded() -> None:
    memory = torch.zeros(4)
    address = memory.data_ptr()
    buffer = retiring(memory)
    del memory
    assert not cuda_graphs._retired
    del buffer
    assert [kept.data_ptr() for kept in cuda_graphs._retired] == [address]
    free_cached(torch.device("cpu"))
    assert not cuda_graphs._retired


@pytest.mark.parametrize("call", [free_cached, wait_for])
def test_what_breaks_a_recording_waits_for_its_end(monkeypatch: pytest.MonkeyPatch, call: object) -> None:
    done = threading.Event()
    for name in ("empty_cache", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda *device: done.set())
    thread = threading.Thread(target=call, args=(CUDA,))  # type: ignore[arg-type]
    with cuda_graphs._recording:
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and not done.is_set()
    thread.join(60)
    assert done.is_set()


def test_no_garbage_is_collected_while_recording() -> None:
    assert gc.isenabled()
    with pytest.raises(ValueError, match="inside"), cuda_graphs._no_garbage():
        assert not gc.isenabled()
        raise ValueError("inside")
    assert gc.isenabled()
