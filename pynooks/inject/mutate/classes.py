# SPDX-License-Identifier: GPL-2.0-only
"""The closed list of fault classes, and what they know about the kernel's functions.

Sources: Ng and Chen, "The systematic improvement of fault tolerance in the Rio file cache" (FTCS
1999), table 1; Swift, Bershad and Levy, "Improving the reliability of commodity operating systems"
(SOSP 2003, TOCS 2005), table III. docs/fault-classes.md has the meaning of each.
"""

from __future__ import annotations

from enum import StrEnum


class FaultClass(StrEnum):
    """One kind of mistake. The order is that of docs/fault-classes.md."""

    TEXT = "text"
    SOURCE = "source"
    DESTINATION = "destination"
    POINTER = "pointer"
    BRANCH = "branch"
    LOOP = "loop"
    NOP = "nop"
    INIT = "init"
    INTERFACE = "interface"
    IRQ = "irq"
    ALLOC = "alloc"
    FREE = "free"
    COPY = "copy"
    OFF_BY_ONE = "off-by-one"
    UNLOCK = "unlock"
    LOCK = "lock"
    FLAGS = "flags"


# Integer arguments in order, System V ABI.
ARGUMENTS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")

# Not interfaces: the compiler's own calls.
COMPILER_CALLS = frozenset({"__fentry__", "__stack_chk_fail", "__x86_return_thunk"})

# Give back NULL when there is no memory.
ALLOCATORS = frozenset(
    {
        "__alloc_pages", "__alloc_skb", "__kmalloc", "__kmalloc_node", "__napi_alloc_skb",
        "__netdev_alloc_skb", "__vmalloc", "alloc_etherdev_mqs", "alloc_pages", "build_skb",
        "devm_kmalloc", "dma_alloc_attrs", "dma_pool_alloc", "kmalloc_large", "kmalloc_node_trace",
        "kmalloc_trace", "kmem_cache_alloc", "kmemdup", "kstrdup", "kvmalloc_node",
        "napi_alloc_frag_align", "napi_build_skb", "napi_get_frags", "netdev_alloc_frag_align",
        "page_frag_alloc_align", "skb_clone", "skb_copy", "vmalloc", "vzalloc",
    }
)  # fmt: skip

# Give a resource back.
RELEASERS = frozenset(
    {
        "__dev_kfree_skb_any", "__dev_kfree_skb_irq", "__free_pages", "consume_skb",
        "dma_free_attrs", "dma_pool_free", "dma_unmap_page_attrs", "free_irq", "free_netdev",
        "free_pages", "iounmap", "kfree", "kfree_skb_reason", "kmem_cache_free", "kvfree",
        "napi_consume_skb", "page_frag_free", "vfree",
    }
)  # fmt: skip

# Leave a critical section.
UNLOCKERS = frozenset(
    {
        "__raw_spin_unlock_irqrestore", "_raw_read_unlock", "_raw_read_unlock_bh",
        "_raw_spin_unlock", "_raw_spin_unlock_bh", "_raw_spin_unlock_irq",
        "_raw_spin_unlock_irqrestore", "_raw_write_unlock", "_raw_write_unlock_bh", "mutex_unlock",
        "rtnl_unlock", "up", "up_read", "up_write",
    }
)  # fmt: skip

# Enter one. Value: what leaving it needs to have in rax.
LOCKERS = {
    "_raw_read_lock": b"",
    "_raw_read_lock_bh": b"",
    "_raw_spin_lock": b"",
    "_raw_spin_lock_bh": b"",
    "_raw_spin_lock_irq": b"",
    "_raw_spin_lock_irqsave": b"\x9c\x58",  # pushfq; pop rax
    "_raw_write_lock": b"",
    "_raw_write_lock_bh": b"",
    "down": b"",
    "down_read": b"",
    "down_write": b"",
    "mutex_lock": b"",
    "rtnl_lock": b"",
}

# Restore the interrupt flag from their second argument.
IRQ_RESTORERS = frozenset({"_raw_spin_unlock_irqrestore", "_raw_write_unlock_irqrestore"})

# Enable interrupts or softirqs by being called.
IRQ_ENABLERS = frozenset(
    {"_raw_spin_unlock_irq", "_raw_spin_unlock_bh", "__local_bh_enable_ip", "enable_irq"}
)

# Copy or fill as many bytes as their third argument says.
COPIERS = frozenset(
    {"_copy_from_user", "_copy_to_user", "memcpy", "memmove", "memset", "memcpy_fromio",
     "memcpy_toio", "skb_copy_to_linear_data", "strncpy", "strscpy"}
)  # fmt: skip

# Which argument is a set of flags or an enumerator.
FLAG_ARGUMENTS = {
    "__alloc_pages": "rdi",
    "__kmalloc": "rsi",
    "__napi_alloc_skb": "rdx",
    "__netdev_alloc_skb": "rdx",
    "alloc_pages": "rdi",
    "dma_alloc_attrs": "rcx",
    "dma_map_page_attrs": "r8",
    "dma_sync_single_for_cpu": "rcx",
    "dma_sync_single_for_device": "rcx",
    "dma_unmap_page_attrs": "rcx",
    "kmalloc_trace": "rsi",
    "kmem_cache_alloc": "rsi",
    "request_threaded_irq": "rcx",
    "skb_clone": "rsi",
    "skb_copy": "rsi",
}
FLAG_BITS = 12  # of a constant, from the lowest: what gfp_t, IRQF_ and DMA directions use most

# Copy overrun: probability and range in bytes, as in Rio: a word, up to 1,024, 2 to 4 pages.
OVERRUNS = ((0.50, 8, 8), (0.44, 9, 1024), (0.06, 2 * 4096, 4 * 4096))
