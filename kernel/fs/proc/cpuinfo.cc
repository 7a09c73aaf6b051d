// /proc/cpuinfo, from the processor's own cpuid: programs can run that instruction as well, so the
// two agree.
#include <cpuid.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "kernel/fs/proc/proc_superblock.h"
#include "platform/base/format.h"

namespace sandboxd::proc {
namespace {

struct Leaf {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Leaf Cpuid(unsigned leaf, unsigned subleaf = 0) {
  Leaf l;
  if (__get_cpuid_count(leaf, subleaf, &l.eax, &l.ebx, &l.ecx, &l.edx) == 0) return {};
  return l;
}

struct Flag {
  int bit;
  const char* name;
};

constexpr Flag kLeaf1Edx[] = {
    {0, "fpu"},  {1, "vme"},   {2, "de"},    {3, "pse"},   {4, "tsc"},    {5, "msr"},
    {6, "pae"},  {7, "mce"},   {8, "cx8"},   {9, "apic"},  {11, "sep"},   {12, "mtrr"},
    {13, "pge"}, {14, "mca"},  {15, "cmov"}, {16, "pat"},  {17, "pse36"}, {19, "clflush"},
    {23, "mmx"}, {24, "fxsr"}, {25, "sse"},  {26, "sse2"}, {27, "ss"},    {28, "ht"}};
constexpr Flag kExtendedEdx[] = {
    {11, "syscall"}, {20, "nx"}, {26, "pdpe1gb"}, {27, "rdtscp"}, {29, "lm"}};
constexpr Flag kLeaf1Ecx[] = {{0, "pni"},        {1, "pclmulqdq"}, {9, "ssse3"},   {12, "fma"},
                              {13, "cx16"},      {17, "pcid"},     {19, "sse4_1"}, {20, "sse4_2"},
                              {21, "x2apic"},    {22, "movbe"},    {23, "popcnt"}, {25, "aes"},
                              {26, "xsave"},     {28, "avx"},      {29, "f16c"},   {30, "rdrand"},
                              {31, "hypervisor"}};
constexpr Flag kExtendedEcx[] = {{0, "lahf_lm"}, {2, "svm"},         {5, "abm"},
                                 {6, "sse4a"},   {7, "misalignsse"}, {8, "3dnowprefetch"},
                                 {11, "xop"},    {16, "fma4"}};
constexpr Flag kLeaf7Ebx[] = {
    {0, "fsgsbase"},  {3, "bmi1"},     {5, "avx2"},        {7, "smep"},        {8, "bmi2"},
    {9, "erms"},      {10, "invpcid"}, {16, "avx512f"},    {17, "avx512dq"},   {18, "rdseed"},
    {19, "adx"},      {20, "smap"},    {21, "avx512ifma"}, {23, "clflushopt"}, {24, "clwb"},
    {28, "avx512cd"}, {29, "sha_ni"},  {30, "avx512bw"},   {31, "avx512vl"}};
constexpr Flag kLeaf7Ecx[] = {{1, "avx512vbmi"},   {2, "umip"},           {6, "avx512_vbmi2"},
                              {8, "gfni"},         {9, "vaes"},           {10, "vpclmulqdq"},
                              {11, "avx512_vnni"}, {12, "avx512_bitalg"}, {14, "avx512_vpopcntdq"},
                              {22, "rdpid"},       {27, "movdiri"},       {28, "movdir64b"}};
constexpr Flag kLeaf7Edx[] = {{4, "fsrm"},         {14, "serialize"}, {22, "amx_bf16"},
                              {23, "avx512_fp16"}, {24, "amx_tile"},  {25, "amx_int8"}};
constexpr Flag kLeaf7_1Eax[] = {{4, "avx_vnni"}, {5, "avx512_bf16"}};
constexpr Flag kXsave[] = {{0, "xsaveopt"}, {1, "xsavec"}, {2, "xgetbv1"}, {3, "xsaves"}};

void Append(std::string& s, unsigned bits, std::span<const Flag> flags) {
  for (const Flag& f : flags) {
    if ((bits >> f.bit & 1) == 0) continue;
    if (!s.empty()) s += ' ';
    s += f.name;
  }
}

std::string Flags() {
  Leaf one = Cpuid(1), extended = Cpuid(0x80000001), seven = Cpuid(7);
  std::string s;
  Append(s, one.edx, kLeaf1Edx);
  Append(s, extended.edx, kExtendedEdx);
  Append(s, one.ecx, kLeaf1Ecx);
  Append(s, extended.ecx, kExtendedEcx);
  Append(s, seven.ebx, kLeaf7Ebx);
  Append(s, Cpuid(0xd, 1).eax, kXsave);
  Append(s, Cpuid(7, 1).eax, kLeaf7_1Eax);
  Append(s, seven.ecx, kLeaf7Ecx);
  Append(s, seven.edx, kLeaf7Edx);
  return s;
}

std::string Vendor() {
  Leaf l = Cpuid(0);
  char text[13] = {};
  memcpy(text, &l.ebx, 4);
  memcpy(text + 4, &l.edx, 4);
  memcpy(text + 8, &l.ecx, 4);
  return text;
}

std::string Model() {
  char text[49] = {};
  for (unsigned i = 0; i < 3; i++) {
    Leaf l = Cpuid(0x80000002 + i);
    memcpy(text + 16 * i, &l, 16);
  }
  const char* start = text;
  while (*start == ' ') start++;
  return *start == '\0' ? "unknown" : start;
}

// From the model's name ("@ 2.50GHz"), or from cpuid where it says.
double Megahertz(const std::string& model) {
  size_t at = model.find("@ ");
  double ghz = 0;
  if (at != std::string::npos && sscanf(model.c_str() + at + 2, "%lfGHz", &ghz) == 1) {
    return ghz * 1000;
  }
  if (unsigned mhz = Cpuid(0x16).eax & 0xffff) return mhz;
  return 2000;
}

}  // namespace

std::string CpuInfo(unsigned cpus) {
  Leaf one = Cpuid(1);
  unsigned family = one.eax >> 8 & 0xf, model = one.eax >> 4 & 0xf;
  if (family == 6 || family == 15) model |= (one.eax >> 16 & 0xf) << 4;
  if (family == 15) family += one.eax >> 20 & 0xff;
  std::string name = Model(), vendor = Vendor(), flags = Flags();
  double mhz = Megahertz(name);
  unsigned cache_kb = Cpuid(0x80000006).ecx >> 16;
  Leaf sizes = Cpuid(0x80000008);
  std::string s;
  for (unsigned i = 0; i < cpus; i++) {
    s += StrFormat("processor\t: %u\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\n", i,
                   vendor.c_str(), family, model);
    s += StrFormat("model name\t: %s\nstepping\t: %u\nmicrocode\t: 0x1\ncpu MHz\t\t: %.3f\n",
                   name.c_str(), one.eax & 0xf, mhz);
    s += StrFormat(
        "cache size\t: %u KB\nphysical id\t: 0\nsiblings\t: %u\ncore id\t\t: %u\n"
        "cpu cores\t: %u\napicid\t\t: %u\ninitial apicid\t: %u\n",
        cache_kb, cpus, i, cpus, i, i);
    s += StrFormat("fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: %u\nwp\t\t: yes\n",
                   Cpuid(0).eax);
    s += "flags\t\t: " + flags + "\nbugs\t\t:\n";
    s += StrFormat("bogomips\t: %.2f\nclflush size\t: %u\ncache_alignment\t: %u\n", mhz * 2,
                   (one.ebx >> 8 & 0xff) * 8, (one.ebx >> 8 & 0xff) * 8);
    s += StrFormat("address sizes\t: %u bits physical, %u bits virtual\npower management:\n\n",
                   sizes.eax & 0xff, sizes.eax >> 8 & 0xff);
  }
  return s;
}

}  // namespace sandboxd::proc
