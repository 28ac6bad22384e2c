"""Trials of zql-kk/FlowPolicy: actions of a robot by a consistency flow, from a point cloud and a state."""

from __future__ import annotations

import torch
from trial import Script, Source, Trial, fresh_weights, stub

SOURCE = Source("zql-kk/FlowPolicy", "FlowPolicy/flow_policy_3d/ at commit ff3b3fe", "FlowPolicy/FlowPolicy")


def _policy(**more):
    stub(
        "torchvision",
        "hydra",
        "omegaconf",
        "zarr",
        "numcodecs",
        "dill",
        "wandb",
        "diffusers",
        "pytorch3d",
        "numba",
        "filelock",
        "tqdm",
    )
    from flow_policy_3d.policy.flowpolicy import FlowPolicy

    class C(dict):
        __getattr__ = dict.__getitem__

    class Entry:
        def __init__(self, *shape):
            self.shape = list(shape)

        def __getitem__(self, key):
            return self.shape

    shape = {"action": {"shape": [3]}, "obs": {"point_cloud": Entry(16, 3), "agent_pos": Entry(4)}}
    cloud = C(in_channels=3, out_channels=16, use_layernorm=True, final_norm="layernorm", normal_channel=False)
    policy = FlowPolicy(
        shape,
        8,
        4,
        2,
        encoder_output_dim=16,
        diffusion_step_embed_dim=16,
        down_dims=(16, 32),
        pointcloud_encoder_cfg=cloud,
        Conditional_ConsistencyFM={
            "eps": 1e-2,
            "num_segments": 2,
            "boundary": 1,
            "delta": 1e-2,
            "alpha": 1e-5,
            "num_inference_step": 2,
        },
        **more,
    )
    from flow_policy_3d.model.common.normalizer import LinearNormalizer

    normalizer = LinearNormalizer()
    normalizer.fit({"point_cloud": torch.randn(32, 3), "agent_pos": torch.randn(32, 4), "action": torch.randn(32, 3)})
    policy.set_normalizer(normalizer)
    fresh_weights(policy.model)
    return policy.eval()


@SOURCE.case("predict_action: a dictionary of observations, a point cloud, a mask; batch free", forms={"plain": {}})
def predict_action() -> Trial:
    policy = _policy()

    def run(point_cloud, agent_pos):
        return policy.predict_action({"point_cloud": point_cloud, "agent_pos": agent_pos})

    return Trial(
        Script(run, policy),
        (torch.randn(2, 2, 16, 3), torch.randn(2, 2, 4)),
        {"point_cloud": {0: "batch"}, "agent_pos": {0: "batch"}},
    )
