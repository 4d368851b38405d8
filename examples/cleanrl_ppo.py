"""PPO in one file of PyTorch, as CleanRL writes it: a vector environment, masks, nothing else.

python examples/cleanrl_ppo.py [STEPS]
"""

import sys

import gymnasium as gym
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.distributions import Categorical

from dysta_gym import compare
from dysta_gym.agents import evaluate

SEEN = {"level": "sized/kalman", "slots": 64, "decisions": "events"}
ENVS, ROLLOUT, EPOCHS, MINIBATCH = 64, 64, 4, 512
GAMMA, LAMBDA, CLIP, RATE, ENTROPY = 0.997, 0.95, 0.2, 2e-3, 0.0


class Agent(nn.Module):
    """Scores every request with the same weights, in the light of the others."""

    def __init__(self, features, width=16):
        super().__init__()
        self.of_request, self.of_queue = len(features.requests), len(features.queue)
        self.embed = nn.Linear(self.of_request + self.of_queue, width)
        self.score = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 1))
        self.skip = nn.Linear(self.of_request, 1, bias=False)
        self.value = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, observations, masks):
        """The distribution of actions and the values, for masks of the slots that are taken."""
        whole = observations[:, -self.of_queue :]
        table = observations[:, : -self.of_queue].unflatten(1, (-1, self.of_request))
        requests, owner = table[masks], masks.nonzero()[:, 0]  # those that there are
        embedded = torch.relu(self.embed(torch.cat([requests, whole[owner]], 1)))
        total = embedded.new_zeros(len(masks), embedded.shape[1]).index_add(0, owner, embedded)
        mean = total / masks.sum(1, keepdim=True).clamp(min=1)
        scores = self.score(torch.cat([embedded, mean[owner]], 1)) + self.skip(requests)
        logits = torch.full(masks.shape, -1e8).masked_scatter(masks, scores[:, 0])
        return Categorical(logits=logits), self.value(mean)[:, 0]

    def act(self, observations, masks):
        """The best action of each, as `evaluate` asks for it."""
        with torch.no_grad():
            distribution, _ = self(torch.as_tensor(observations), torch.as_tensor(masks))
        return distribution.probs.argmax(1).numpy()


def learn(agent, observations, masks, step, steps):
    """PPO, from what the environments show first on.

    Args:
        agent: The agent.
        observations: Shape ``(environments, ...)``.
        masks: Shape ``(environments, slots)``.
        step: Takes actions; gives observations, masks, rewards, and which episodes have ended,
            whose observations are then those of the next.
        steps: Steps of all environments together.
    """
    optimiser = torch.optim.Adam(agent.parameters(), RATE, eps=1e-5)
    count, size = len(observations), ROLLOUT * len(observations)
    iterations = -(-steps // size)
    for iteration in range(iterations):
        optimiser.param_groups[0]["lr"] = RATE * (1 - iteration / iterations)
        rollout = []
        for _ in range(ROLLOUT):
            seen = torch.as_tensor(observations.copy()), torch.as_tensor(masks.copy())
            with torch.no_grad():
                distribution, value = agent(*seen)
                action = distribution.sample()
                logarithm = distribution.log_prob(action)
            observations, masks, reward, ended = step(action.numpy())
            kept = (torch.as_tensor(np.array(each)) for each in (reward, ended))
            rollout.append((*seen, action, logarithm, value, *kept))
        seen, taken, action, logarithm, value, reward, ended = map(
            torch.stack, zip(*rollout, strict=True)
        )
        with torch.no_grad():
            _, following = agent(torch.as_tensor(observations), torch.as_tensor(masks))
        advantage, later = torch.zeros(ROLLOUT, count), torch.zeros(count)
        for at in reversed(range(ROLLOUT)):
            goes_on = 1 - ended[at].float()
            error = reward[at].float() + GAMMA * goes_on * following - value[at]
            advantage[at] = later = error + GAMMA * LAMBDA * goes_on * later
            following = value[at]
        goal = advantage + value
        batch = [each.flatten(0, 1) for each in (seen, taken, action, logarithm, advantage, goal)]
        for _ in range(EPOCHS):
            for chosen in torch.randperm(size).split(MINIBATCH):
                seen, taken, action, logarithm, advantage, goal = (each[chosen] for each in batch)
                distribution, value = agent(seen, taken)
                ratio = (distribution.log_prob(action) - logarithm).exp()
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                gain = torch.min(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
                loss = 0.5 * (value - goal).square() - gain - ENTROPY * distribution.entropy()
                optimiser.zero_grad()
                loss.mean().backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimiser.step()


def main(steps=80_000):
    """Train, and show what came of it."""
    torch.set_num_threads(1)  # small networks: more threads wait for one another
    torch.manual_seed(0)
    envs = gym.make_vec(
        "SparseMultiDNN-v0",
        num_envs=ENVS,
        scenario="multi-attnn",
        load=1.05,
        penalty=300,
        autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,
        **SEEN,
    )

    def step(actions):
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        return observations, infos["action_mask"].astype(bool), rewards, terminated | truncated

    agent = Agent(envs.unwrapped.settings.features)
    observations, infos = envs.reset(seed=0)
    learn(agent, observations, infos["action_mask"].astype(bool), step, steps)

    conditions = {"scenarios": ["multi-attnn"], "loads": [1.05], "seeds": range(3)}
    mine = evaluate(agent.act, name="one-file-ppo", **SEEN, **conditions)
    table = pd.concat([compare(policies=["dysta"], **conditions), mine])
    print(table.groupby("policy", sort=False)[["violation_rate", "antt"]].mean())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
