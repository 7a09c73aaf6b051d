#include "kernel/loader/script.h"

namespace sandboxd::loader {

Result<std::optional<ScriptLine>> ParseScript(std::string_view head) {
  if (!head.starts_with("#!")) return std::optional<ScriptLine>();
  constexpr std::string_view kBlank = " \t";
  // The last byte of the window is never looked at, as it is a NUL to Linux.
  std::string_view line = head.substr(2, kScriptHead - 1 - 2);
  const bool window_full = head.size() >= kScriptHead;
  size_t end = line.find('\n');
  bool cut = false;
  if (end != std::string_view::npos) {
    line = line.substr(0, end);
  } else {
    cut = window_full;
  }
  // A NUL ends the line as well.
  line = line.substr(0, line.find('\0'));

  size_t first = line.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return Errno::kENOEXEC;
  line.remove_prefix(first);
  size_t name_end = line.find_first_of(kBlank);
  // A cut argument is taken as it is; a cut name could be another program's.
  if (name_end == std::string_view::npos && cut) return Errno::kENOEXEC;
  ScriptLine script;
  script.interpreter = line.substr(0, name_end);
  if (name_end != std::string_view::npos) {
    line.remove_prefix(name_end);
    size_t begin = line.find_first_not_of(kBlank);
    if (begin != std::string_view::npos) {
      size_t last = line.find_last_not_of(kBlank);
      script.argument = std::string(line.substr(begin, last - begin + 1));
    }
  }
  return std::optional<ScriptLine>(std::move(script));
}

}  // namespace sandboxd::loader
