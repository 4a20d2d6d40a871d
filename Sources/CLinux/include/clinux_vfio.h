/* SPDX-License-Identifier: Apache-2.0
 *
 * VFIO's ioctl numbers as constants (Documentation/driver-api/vfio.rst); the
 * structures come from the kernel's own header.
 *
 * The kernel's numbers are function-like macros, which Swift cannot import.
 * Each constant below is defined as the macro's value; the assertions pin the
 * numbers and the layouts that the Swift side reads at fixed offsets, because
 * most answers carry a chain of capabilities behind the structure.
 */
#ifndef CLINUX_VFIO_H
#define CLINUX_VFIO_H

#include <linux/vfio.h>
#include <stddef.h>

/* On a container. */
static const unsigned long CLINUX_VFIO_GET_API_VERSION = VFIO_GET_API_VERSION;
static const unsigned long CLINUX_VFIO_CHECK_EXTENSION = VFIO_CHECK_EXTENSION;
static const unsigned long CLINUX_VFIO_SET_IOMMU = VFIO_SET_IOMMU;
static const unsigned long CLINUX_VFIO_IOMMU_GET_INFO = VFIO_IOMMU_GET_INFO;
static const unsigned long CLINUX_VFIO_IOMMU_MAP_DMA = VFIO_IOMMU_MAP_DMA;
static const unsigned long CLINUX_VFIO_IOMMU_UNMAP_DMA = VFIO_IOMMU_UNMAP_DMA;

/* On a group. */
static const unsigned long CLINUX_VFIO_GROUP_GET_STATUS = VFIO_GROUP_GET_STATUS;
static const unsigned long CLINUX_VFIO_GROUP_SET_CONTAINER = VFIO_GROUP_SET_CONTAINER;
static const unsigned long CLINUX_VFIO_GROUP_UNSET_CONTAINER = VFIO_GROUP_UNSET_CONTAINER;
static const unsigned long CLINUX_VFIO_GROUP_GET_DEVICE_FD = VFIO_GROUP_GET_DEVICE_FD;

/* On a device. */
static const unsigned long CLINUX_VFIO_DEVICE_GET_INFO = VFIO_DEVICE_GET_INFO;
static const unsigned long CLINUX_VFIO_DEVICE_GET_REGION_INFO = VFIO_DEVICE_GET_REGION_INFO;
static const unsigned long CLINUX_VFIO_DEVICE_GET_IRQ_INFO = VFIO_DEVICE_GET_IRQ_INFO;
static const unsigned long CLINUX_VFIO_DEVICE_SET_IRQS = VFIO_DEVICE_SET_IRQS;
static const unsigned long CLINUX_VFIO_DEVICE_RESET = VFIO_DEVICE_RESET;
static const unsigned long CLINUX_VFIO_DEVICE_GET_PCI_HOT_RESET_INFO =
	VFIO_DEVICE_GET_PCI_HOT_RESET_INFO;
static const unsigned long CLINUX_VFIO_DEVICE_PCI_HOT_RESET = VFIO_DEVICE_PCI_HOT_RESET;

_Static_assert(VFIO_GET_API_VERSION == 0x3b64UL, "VFIO_GET_API_VERSION");
_Static_assert(VFIO_CHECK_EXTENSION == 0x3b65UL, "VFIO_CHECK_EXTENSION");
_Static_assert(VFIO_SET_IOMMU == 0x3b66UL, "VFIO_SET_IOMMU");
_Static_assert(VFIO_GROUP_GET_STATUS == 0x3b67UL, "VFIO_GROUP_GET_STATUS");
_Static_assert(VFIO_GROUP_SET_CONTAINER == 0x3b68UL, "VFIO_GROUP_SET_CONTAINER");
_Static_assert(VFIO_GROUP_UNSET_CONTAINER == 0x3b69UL, "VFIO_GROUP_UNSET_CONTAINER");
_Static_assert(VFIO_GROUP_GET_DEVICE_FD == 0x3b6aUL, "VFIO_GROUP_GET_DEVICE_FD");
_Static_assert(VFIO_DEVICE_GET_INFO == 0x3b6bUL, "VFIO_DEVICE_GET_INFO");
_Static_assert(VFIO_DEVICE_GET_REGION_INFO == 0x3b6cUL, "VFIO_DEVICE_GET_REGION_INFO");
_Static_assert(VFIO_DEVICE_GET_IRQ_INFO == 0x3b6dUL, "VFIO_DEVICE_GET_IRQ_INFO");
_Static_assert(VFIO_DEVICE_SET_IRQS == 0x3b6eUL, "VFIO_DEVICE_SET_IRQS");
_Static_assert(VFIO_DEVICE_RESET == 0x3b6fUL, "VFIO_DEVICE_RESET");
_Static_assert(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO == 0x3b70UL, "hot reset info");
_Static_assert(VFIO_DEVICE_PCI_HOT_RESET == 0x3b71UL, "VFIO_DEVICE_PCI_HOT_RESET");
_Static_assert(VFIO_IOMMU_GET_INFO == 0x3b70UL, "VFIO_IOMMU_GET_INFO");
_Static_assert(VFIO_IOMMU_MAP_DMA == 0x3b71UL, "VFIO_IOMMU_MAP_DMA");
_Static_assert(VFIO_IOMMU_UNMAP_DMA == 0x3b72UL, "VFIO_IOMMU_UNMAP_DMA");

_Static_assert(offsetof(struct vfio_device_info, num_irqs) == 12, "device info");
_Static_assert(offsetof(struct vfio_region_info, cap_offset) == 12, "region info");
_Static_assert(offsetof(struct vfio_region_info, size) == 16, "region info");
_Static_assert(offsetof(struct vfio_region_info, offset) == 24, "region info");
_Static_assert(sizeof(struct vfio_region_info) == 32, "region info");
_Static_assert(offsetof(struct vfio_region_info_cap_sparse_mmap, areas) == 16, "sparse mmap");
_Static_assert(sizeof(struct vfio_region_sparse_mmap_area) == 16, "sparse mmap area");
_Static_assert(offsetof(struct vfio_irq_info, count) == 12, "irq info");
_Static_assert(offsetof(struct vfio_irq_set, data) == 20, "irq set");
_Static_assert(offsetof(struct vfio_pci_hot_reset_info, devices) == 12, "hot reset info");
_Static_assert(sizeof(struct vfio_pci_dependent_device) == 8, "dependent device");
_Static_assert(offsetof(struct vfio_pci_hot_reset, group_fds) == 12, "hot reset");
_Static_assert(offsetof(struct vfio_iommu_type1_info, iova_pgsizes) == 8, "IOMMU info");
_Static_assert(offsetof(struct vfio_iommu_type1_info, cap_offset) == 16, "IOMMU info");
_Static_assert(sizeof(struct vfio_info_cap_header) == 8, "capability header");
_Static_assert(offsetof(struct vfio_iommu_type1_info_cap_iova_range, iova_ranges) == 16, "IOVA");
_Static_assert(offsetof(struct vfio_iommu_type1_info_dma_avail, avail) == 8, "DMA avail");
_Static_assert(sizeof(struct vfio_iommu_type1_dma_map) == 32, "DMA map");
_Static_assert(sizeof(struct vfio_iommu_type1_dma_unmap) == 24, "DMA unmap");

#endif /* CLINUX_VFIO_H */
