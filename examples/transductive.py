"""Classify the nodes of one graph, most of whose labels are hidden: the whole graph is one batch.

The graph has four communities, and is drawn here: two nodes of a community are linked more often
than two of different ones. What is known of a node alone is noisy. Training, validation and test
look at the same graph, each at the labels of its own nodes. Run it with
``python examples/transductive.py``.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import lt
from lt.callbacks import EarlyStopping

COMMUNITIES, NODES, FEATURES = 4, 400, 8


@dataclass(frozen=True)
class Graph:
    """A batch of a type of our own."""

    features: Tensor  # (nodes, features), float
    links: Tensor  # (nodes, nodes), float and sparse: who hears from whom, and how much
    labels: Tensor  # (nodes,), int
    train_mask: Tensor  # (nodes,), bool; as the other masks: whose labels are looked at
    val_mask: Tensor
    test_mask: Tensor


class GCN(lt.LTModule):
    """Two graph convolutions: each node takes a mean of itself and those it is linked to."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, hidden)
        self.dropout = nn.Dropout(0.5)
        self.second = nn.Linear(hidden, COMMUNITIES)

    def forward(self, graph: Graph) -> Tensor:
        hidden = torch.relu(graph.links @ self.first(graph.features))
        return graph.links @ self.second(self.dropout(hidden))

    def transfer_batch_to_device(self, batch: Graph, device, dataloader_idx) -> Graph:
        """Say how a batch of our own type moves."""
        return Graph(*(getattr(batch, field.name).to(device) for field in fields(batch)))

    def training_step(self, graph: Graph, batch_idx):
        mask = graph.train_mask
        return cross_entropy(self(graph)[mask], graph.labels[mask])

    def validation_step(self, graph: Graph, batch_idx):
        mask = graph.val_mask
        self.log("val_loss", cross_entropy(self(graph)[mask], graph.labels[mask]))

    def test_step(self, graph: Graph, batch_idx):
        right = self(graph).argmax(1) == graph.labels
        self.log("test_accuracy", right[graph.test_mask].float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.02, weight_decay=5e-3)


def stochastic_block_model() -> Graph:
    """Draw a graph: 60 nodes have labels to learn from, 100 to validate, and 240 to test."""
    labels = torch.arange(NODES) % COMMUNITIES
    chance = torch.where(labels[:, None] == labels, 0.06, 0.01)
    upper = (torch.rand(NODES, NODES) < chance).triu(diagonal=1)
    linked = (upper | upper.T | torch.eye(NODES, dtype=torch.bool)).float()
    scale = linked.sum(1).rsqrt()  # symmetric normalization, of Kipf and Welling, 2017
    role = torch.randperm(NODES)
    return Graph(
        features=torch.randn(COMMUNITIES, FEATURES)[labels] + 1.5 * torch.randn(NODES, FEATURES),
        links=(scale[:, None] * linked * scale).to_sparse(),
        labels=labels,
        train_mask=role < 60,
        val_mask=(role >= 60) & (role < 160),
        test_mask=role >= 160,
    )


def accuracy(graph: Graph) -> float:
    """Train on a graph, and return the share of test nodes that are classified right."""
    lt.seed_everything(1)
    trainer = lt.Trainer(
        accelerator="cpu",
        max_epochs=200,
        callbacks=EarlyStopping("val_loss", patience=20),
        logger=False,
    )
    model, loader = GCN(), [graph]
    result = trainer.fit(model, loader, loader)
    print(f"  {result.progress.epoch} epochs: {result.reason}")
    (metrics,) = trainer.test(model, loader, verbose=False)
    return metrics["test_accuracy"]


def main() -> None:
    """Classify the nodes with their links, and without."""
    lt.seed_everything(0)
    graph = stochastic_block_model()
    print("with the links:")
    print(f"  test accuracy: {accuracy(graph):.3f}")
    print("without them:")
    print(f"  test accuracy: {accuracy(replace(graph, links=torch.eye(NODES).to_sparse())):.3f}")


if __name__ == "__main__":
    main()
