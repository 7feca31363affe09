"""`share_memory_`: what a forked process writes is seen here, and the other way round."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

import pytest

import tritorch as torch
from tritorch.runtime import get_target


def forked(body: Callable[[], object]) -> int:
    """Run it in a forked process, whose id this gives."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            body()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def join(child: int) -> None:
    """Wait for its end; an error there is one here."""
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# within a page, whole pages of a slab, a mapping of its own
@pytest.mark.parametrize("count", [5, 4096, 300_000])
def test_a_fork_and_its_parent_see_each_others_writes(count: int) -> None:
    tensor = torch.arange(count).float()
    view, data = tensor[1:3], tensor.data
    private = torch.zeros(count)
    assert not tensor.is_shared()
    version = tensor._version
    assert tensor.share_memory_() is tensor
    assert tensor.is_shared() and view.is_shared() and data.is_shared()
    assert not private.is_shared()
    assert tensor._version == version
    seen, told = os.pipe()

    def body() -> None:
        os.read(seen, 1)  # the parent has written
        assert tensor[0] == 7
        tensor[1] = 8
        private[1] = 8
        view[1] = 9

    child = forked(body)
    tensor[0] = 7
    os.write(told, b"!")
    join(child)
    os.close(seen)
    os.close(told)
    assert tensor[:5].tolist() == [7, 8, 9, 3, 4]
    assert view.tolist() == data[1:3].tolist() == [8, 9]
    assert private[1] == 0
    assert tensor[count - 1] == count - 1


def test_memory_that_was_shared_is_private_when_it_is_used_again() -> None:
    count = 300_000
    tensor = torch.zeros(count).share_memory_()
    address = tensor.data_ptr()
    allocated = get_target("cpu").memory_statistics().allocated
    del tensor
    assert get_target("cpu").memory_statistics().allocated < allocated
    others = []
    while not others or others[-1].data_ptr() != address:
        others.append(torch.zeros(count))
        assert len(others) < 100, "the block was never given again"
    again = others[-1]
    assert not again.is_shared()
    join(forked(lambda: again.fill_(1)))
    assert again[0] == 0


def test_small_memory_that_an_array_holds_is_not_moved() -> None:
    tensor = torch.ones(3)
    array = tensor.numpy()
    with pytest.raises(RuntimeError, match="share_memory_: the memory must move"):
        tensor.share_memory_()
    array[0] = 2
    assert tensor[0] == 2 and not tensor.is_shared()
    del array
    assert tensor.share_memory_().tolist() == [2, 1, 1]


def test_a_forked_process_trains_the_shared_model() -> None:
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 90)
    )
    twin = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 90)
    )
    twin.load_state_dict(model.state_dict())
    x = torch.randn(6, 3)

    def train(trained: torch.nn.Module) -> None:
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
        trained(x).square().mean().backward()
        optimizer.step()

    parameters = list(model.parameters())
    assert model.share_memory() is model
    assert all(p is q for p, q in zip(model.parameters(), parameters, strict=True))
    assert all(tensor.is_shared() for tensor in model.state_dict().values())
    train(twin)
    join(forked(lambda: train(model)))
    for name, tensor in model.state_dict().items():
        assert tensor.equal(twin.state_dict()[name]), name
    assert all(p.grad is None for p in parameters)
