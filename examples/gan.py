"""A generative adversarial network: two optimizers, stepped by hand in ``training_step``.

The data are points near a circle, so how good the generator is can be counted: the share of its
points that lie near the circle, and how much of the circle they cover. Run it with
``python examples/gan.py``.
"""

import math

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader

import lt

LATENT = 2  # numbers that the generator makes a point of
ARCS = 24  # parts of the circle, to see which of them are reached


def points_near_circle(n: int) -> torch.Tensor:
    """Return points of shape (n, 2), at a distance of about 1 from the origin."""
    angle, radius = 2 * math.pi * torch.rand(n), 1 + 0.03 * torch.randn(n)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)


def network(inputs: int, outputs: int) -> nn.Sequential:
    """Return a perceptron with two hidden layers."""
    return nn.Sequential(
        *(nn.Linear(inputs, 64), nn.LeakyReLU(0.2)),
        *(nn.Linear(64, 64), nn.LeakyReLU(0.2)),
        nn.Linear(64, outputs),
    )


class GAN(lt.LTModule):
    """A generator of points, and a discriminator that tells them from real ones."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = network(LATENT, 2)
        self.discriminator = network(2, 1)

    def forward(self, noise):
        return self.generator(noise)

    def looks(self, points, *, real: bool):
        """Return how far the discriminator is from calling these points real, or made up."""
        scores = self.discriminator(points)
        return binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(real)))

    def training_step(self, real, batch_idx):
        optimizer_g, optimizer_d = self.optimizers()
        noise = torch.randn(len(real), LATENT, device=self.device)

        # The generator learns to be taken for real. Toggling leaves the discriminator no gradients.
        self.toggle_optimizer(optimizer_g)
        loss_g = self.looks(self(noise), real=True)
        optimizer_g.zero_grad()
        self.manual_backward(loss_g)
        optimizer_g.step()
        self.untoggle_optimizer(optimizer_g)

        # The discriminator learns to tell the two apart.
        self.toggle_optimizer(optimizer_d)
        loss_d = self.looks(real, real=True) + self.looks(self(noise).detach(), real=False)
        optimizer_d.zero_grad()
        self.manual_backward(loss_d)
        optimizer_d.step()
        self.untoggle_optimizer(optimizer_d)

        self.log_dict({"loss_g": loss_g, "loss_d": loss_d}, prog_bar=True)

    def test_step(self, noise, batch_idx):
        x, y = self(noise).unbind(1)
        arc = (torch.atan2(y, x) / (2 * math.pi) * ARCS).floor() % ARCS
        near = (torch.hypot(x, y) - 1).abs() < 0.1
        self.log_dict({"near": near.float().mean(), "arcs": float(arc[near].unique().numel())})

    def configure_optimizers(self):
        betas = (0.5, 0.9)
        return [
            torch.optim.Adam(self.generator.parameters(), lr=1e-3, betas=betas),
            torch.optim.Adam(self.discriminator.parameters(), lr=2e-3, betas=betas),
        ]


def main() -> None:
    """Measure the generator, train it, and measure it again."""
    lt.seed_everything(0)
    model = GAN()
    real = DataLoader(points_near_circle(4096), batch_size=128, shuffle=True)
    noise = [torch.randn(2000, LATENT)]
    trainer = lt.Trainer(accelerator="cpu", max_epochs=20, logger=False)

    for title in ("untrained", "trained"):
        (found,) = trainer.test(model, noise, verbose=False)
        print(f"{title}: {found['near']:.1%} near the circle, {found['arcs']:.0f} of {ARCS} arcs")
        if title == "untrained":
            result = trainer.fit(model, real)
            print(f"{result.progress.steps} steps: {result.reason}")


if __name__ == "__main__":
    main()
