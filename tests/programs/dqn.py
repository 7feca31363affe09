"""Deep Q-learning: the shortest safe way through a small world of cells, from wherever one is."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence

import tritorch as torch
from tests.programs.learning import Learning, run

nn, functional = torch.nn, torch.nn.functional

WORLD = """
.....#
.##..x
..x#..
#....#
..#x.G
"""
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
DISCOUNT = 0.95
STEPS = 2500
LONGEST = 30  # steps of an episode
BATCH = 64

ROWS = WORLD.split()
PLACES = [(i, j) for i, row in enumerate(ROWS) for j, cell in enumerate(row) if cell == "."]
Place = tuple[int, int]


def move(place: Place, action: int) -> tuple[Place, float, bool]:
    """The next place, the reward, whether the episode ends; a wall keeps one where one is."""
    i, j = place[0] + MOVES[action][0], place[1] + MOVES[action][1]
    if not (0 <= i < len(ROWS) and 0 <= j < len(ROWS[0])) or ROWS[i][j] == "#":
        return place, -0.05, False
    ends = {"G": 1.0, "x": -1.0}
    return (i, j), ends.get(ROWS[i][j], -0.05), ROWS[i][j] in ends


def seen(places: Sequence[Place]) -> torch.Tensor:
    """What the network sees: one-hot of row and of column, (N, rows + columns)."""
    where = torch.tensor(places)
    rows = functional.one_hot(where[:, 0], len(ROWS))
    columns = functional.one_hot(where[:, 1], len(ROWS[0]))
    return torch.cat([rows, columns], dim=1).float()


def best_values() -> dict[Place, float]:
    """The discounted return of the best policy, by iteration of values."""
    values = dict.fromkeys(PLACES, 0.0)
    for _ in range(100):
        for place in PLACES:
            found = []
            for action in range(4):
                after, reward, done = move(place, action)
                found.append(reward + (0.0 if done else DISCOUNT * values[after]))
            values[place] = max(found)
    return values


def greedy_return(network: nn.Module, place: Place) -> float:
    """The discounted return when the best action, as the network sees it, is always taken."""
    total, weight = 0.0, 1.0
    for _ in range(LONGEST):
        with torch.no_grad():
            action = network(seen([place])).argmax(dim=1).item()
        place, reward, done = move(place, action)
        total, weight = total + weight * reward, weight * DISCOUNT
        if done:
            break
    return total


def program(learning: Learning, seed: int = 0) -> None:
    """Explore, remember, learn from what is remembered; compare with the best policy."""
    torch.manual_seed(seed)
    chance = random.Random(seed)

    def network() -> nn.Sequential:
        inputs = len(ROWS) + len(ROWS[0])
        return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
                             nn.Linear(64, 4))  # fmt: skip

    policy, target = network(), network()
    target.load_state_dict(policy.state_dict())
    optimizer = torch.optim.RMSprop(policy.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1500, gamma=0.3)
    memory: deque[tuple[Place, int, float, Place, bool]] = deque(maxlen=5000)
    best = best_values()

    def shortfall() -> float:
        """How much less than the best policy the network gets, from every place."""
        return sum(best[place] - greedy_return(policy, place) for place in PLACES) / len(PLACES)

    place, left = chance.choice(PLACES), LONGEST
    for step in learning.steps(range(STEPS), STEPS, "return below the best"):
        if step % 250 == 0:
            learning.point(step, shortfall())
        if chance.random() < max(0.1, 1 - step / 1000):
            action = chance.randrange(4)
        else:
            with torch.no_grad():
                action = policy(seen([place])).argmax(dim=1).item()
        after, reward, done = move(place, action)
        memory.append((place, action, reward, after, done))
        place, left = after, left - 1
        if done or not left:
            place, left = chance.choice(PLACES), LONGEST
        if len(memory) < BATCH:
            continue

        before, actions, rewards, later, ended = zip(*chance.sample(memory, BATCH), strict=True)
        with torch.no_grad():
            follows = target(seen(later)).max(dim=1).values
            wanted = torch.tensor(rewards) + DISCOUNT * follows * ~torch.tensor(ended)
        values = policy(seen(before)).gather(1, torch.tensor(actions).unsqueeze(1)).squeeze(1)
        optimizer.zero_grad()
        functional.smooth_l1_loss(values, wanted).backward()
        nn.utils.clip_grad_value_(policy.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        with torch.no_grad():
            for slow, fast in zip(target.parameters(), policy.parameters(), strict=True):
                slow.lerp_(fast, 0.02)
    learning.point(STEPS, shortfall())
    learning.figure("return below the best policy's", shortfall(), at_most=0.05)
    reached = sum(greedy_return(policy, place) > -0.05 * LONGEST for place in PLACES)
    learning.figure("share of places with a way", reached / len(PLACES), at_least=0.95)


if __name__ == "__main__":
    run(program, __doc__)
