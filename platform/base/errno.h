// Linux error numbers as a type.
//
// The application kernel, the platforms and the gofer return `Errno` inside `Result<T>` (result.h);
// nothing in them reads the C library's `errno` except the wrappers that call the host. Source:
// include/uapi/asm-generic/errno-base.h and errno.h (Linux 6.1), plus the internal restart codes of
// include/linux/errno.h, which never reach a program.
#pragma once

#include <cstdint>

namespace sandboxd {

enum class Errno : uint16_t {
  kEPERM = 1,
  kENOENT = 2,
  kESRCH = 3,
  kEINTR = 4,
  kEIO = 5,
  kENXIO = 6,
  kE2BIG = 7,
  kENOEXEC = 8,
  kEBADF = 9,
  kECHILD = 10,
  kEAGAIN = 11,
  kENOMEM = 12,
  kEACCES = 13,
  kEFAULT = 14,
  kENOTBLK = 15,
  kEBUSY = 16,
  kEEXIST = 17,
  kEXDEV = 18,
  kENODEV = 19,
  kENOTDIR = 20,
  kEISDIR = 21,
  kEINVAL = 22,
  kENFILE = 23,
  kEMFILE = 24,
  kENOTTY = 25,
  kETXTBSY = 26,
  kEFBIG = 27,
  kENOSPC = 28,
  kESPIPE = 29,
  kEROFS = 30,
  kEMLINK = 31,
  kEPIPE = 32,
  kEDOM = 33,
  kERANGE = 34,
  kEDEADLK = 35,
  kENAMETOOLONG = 36,
  kENOLCK = 37,
  kENOSYS = 38,
  kENOTEMPTY = 39,
  kELOOP = 40,
  kENOMSG = 42,
  kEIDRM = 43,
  kENODATA = 61,
  kETIME = 62,
  kENOLINK = 67,
  kEPROTO = 71,
  kEBADMSG = 74,
  kEOVERFLOW = 75,
  kEBADFD = 77,
  kELIBBAD = 80,
  kEILSEQ = 84,
  kEUSERS = 87,
  kENOTSOCK = 88,
  kEDESTADDRREQ = 89,
  kEMSGSIZE = 90,
  kEPROTOTYPE = 91,
  kENOPROTOOPT = 92,
  kEPROTONOSUPPORT = 93,
  kESOCKTNOSUPPORT = 94,
  kEOPNOTSUPP = 95,
  kEPFNOSUPPORT = 96,
  kEAFNOSUPPORT = 97,
  kEADDRINUSE = 98,
  kEADDRNOTAVAIL = 99,
  kENETDOWN = 100,
  kENETUNREACH = 101,
  kENETRESET = 102,
  kECONNABORTED = 103,
  kECONNRESET = 104,
  kENOBUFS = 105,
  kEISCONN = 106,
  kENOTCONN = 107,
  kESHUTDOWN = 108,
  kETOOMANYREFS = 109,
  kETIMEDOUT = 110,
  kECONNREFUSED = 111,
  kEHOSTDOWN = 112,
  kEHOSTUNREACH = 113,
  kEALREADY = 114,
  kEINPROGRESS = 115,
  kESTALE = 116,
  kEDQUOT = 122,
  kENOMEDIUM = 123,
  kECANCELED = 125,
  kENOKEY = 126,
  kEKEYEXPIRED = 127,
  kEKEYREVOKED = 128,
  kEKEYREJECTED = 129,
  kEOWNERDEAD = 130,
  kENOTRECOVERABLE = 131,
  kERFKILL = 132,
  kEHWPOISON = 133,

  // A call that a signal interrupted says with these how it wants to be resumed (signal(7),
  // "Interruption of system calls"). The task loop turns them into a restart or into EINTR before
  // the program sees them.
  kERESTARTSYS = 512,            // restart if the handler has SA_RESTART, or if there is no handler
  kERESTARTNOINTR = 513,         // always restart
  kERESTARTNOHAND = 514,         // restart only if no handler runs
  kERESTART_RESTARTBLOCK = 516,  // restart through restart_syscall(2) with the rest of the time
};

// "ENOENT", or "E?" for a number that has no name here.
const char* ErrnoName(Errno e);
// The sentence of strerror(3) in the C locale: "No such file or directory".
const char* ErrnoMessage(Errno e);

// The one place where a host errno enters the kernel. A number outside Linux's range is logged and
// becomes EIO.
Errno FromHostErrno(int host_errno);

constexpr bool IsRestart(Errno e) { return static_cast<uint16_t>(e) >= 512; }

}  // namespace sandboxd
