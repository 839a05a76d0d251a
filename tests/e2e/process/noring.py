#!/usr/bin/python3
"""Runs a program with io_uring_setup forbidden, as the seccomp profile of a container does: noring.py PROGRAM ARGS..

A filter of four instructions: system call 425 (io_uring_setup) answers EPERM, all others pass. x86-64 and aarch64 have the same number.
"""
import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_NR, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO_EPERM = 0x7FFF0000, 0x00050001
code = b"".join(struct.pack("HBBI", *i) for i in [(LOAD_NR, 0, 0, 0), (JUMP_EQUAL, 0, 1, 425), (RETURN, 0, 0, ERRNO_EPERM), (RETURN, 0, 0, ALLOW)])
program = ctypes.create_string_buffer(code)


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


libc = ctypes.CDLL(None, use_errno=True)
filter = Filter(4, ctypes.addressof(program))
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter), 0, 0):
    sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
