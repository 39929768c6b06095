# SPDX-License-Identifier: Apache-2.0
"""Drivers and kinds of interfaces that run XDP programs themselves, and since which kernel.

By the uses of XDP_SETUP_PROG in drivers/net of the kernel. Names are those of
/sys/class/net/NAME/device/driver.
"""

from __future__ import annotations

NATIVE = {
    "mlx4_core": "4.8", "mlx5_core": "4.9", "nfp": "4.10", "qede": "4.10",
    "virtio_net": "4.10", "bnxt_en": "4.11", "ixgbe": "4.12", "nicvf": "4.12",
    "i40e": "4.13", "ixgbevf": "4.17", "netdevsim": "4.16", "fsl_dpaa2_eth": "5.0",
    "cpsw": "5.3", "netsec": "5.3", "sfc": "5.5", "mvneta": "5.5", "ice": "5.5", "ena": "5.6",
    "hv_netvsc": "5.6", "vif": "5.9", "mvpp2": "5.9", "igb": "5.10", "fsl_dpa": "5.11",
    "igc": "5.13", "stmmac": "5.13", "dwmac-rk": "5.13", "st_gmac": "5.13",
    "fsl_enetc": "5.13", "mana": "5.17", "atlantic": "5.19", "mtk_soc_eth": "6.0",
    "fec": "6.2", "lan966x-switch": "6.2", "tsnep": "6.3", "gve": "6.4", "vmxnet3": "6.6",
    "ionic": "6.9", "am65-cpsw-nuss": "6.10",
}  # fmt: skip

VIRTUAL = {"veth": "4.19", "tun": "4.14", "bond": "5.15"}
"""The same of interfaces without a device, by their kind; bond: where its devices do."""
