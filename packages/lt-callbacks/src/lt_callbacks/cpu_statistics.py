"""How busy the machine is. Needs psutil."""

import psutil


def cpu_statistics() -> dict[str, float]:
    """Return the use of processors, memory and swap, in percent of the machine's.

    That of the processors is since the last call; the first one tells 0.
    """
    return {
        "cpu_vm_percent": float(psutil.virtual_memory().percent),
        "cpu_percent": float(psutil.cpu_percent()),
        "cpu_swap_percent": float(psutil.swap_memory().percent),
    }
