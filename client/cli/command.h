// The command table of sandboxctl: parsing, help and shell completion derive from it.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

namespace sandboxd::cli {

// What a failure of sandboxctl itself exits with, so that it can be told from the program's status.
inline constexpr int kExitOwnFailure = 125;
inline constexpr int kExitNotExecutable = 126;
inline constexpr int kExitNotFound = 127;

struct Flag {
  const char* name;             // long name without dashes
  char letter = '\0';           // 0: none
  const char* value = nullptr;  // placeholder of its value; null: a switch
  const char* help = "";
  bool repeated = false;
};

// A command line that has been taken apart.
class Args {
 public:
  bool Has(const std::string& flag) const { return values_.contains(flag); }
  // The last value given, or `otherwise`.
  std::string Get(const std::string& flag, const std::string& otherwise = "") const;
  std::vector<std::string> All(const std::string& flag) const;
  const std::vector<std::string>& positional() const { return positional_; }

 private:
  friend std::string ParseArgs(std::span<const Flag> flags, size_t program_at,
                               const std::vector<std::string>& words, Args* args);
  std::map<std::string, std::vector<std::string>> values_;
  std::vector<std::string> positional_;
};

struct Command {
  const char* name;
  const char* operands;  // "ID", "[--] CMD [ARG...]"
  const char* summary;   // one line
  const char* details;   // paragraphs and examples for --help
  std::span<const Flag> flags;
  size_t min_operands = 0;
  size_t max_operands = SIZE_MAX;
  // From this operand on words are a program's own and are not looked at; SIZE_MAX: never.
  size_t program_at = SIZE_MAX;
  int (*run)(const Args& args);
};

// "" or a sentence that names what is wrong. Operand number `program_at` and all behind it are
// taken as they are.
std::string ParseArgs(std::span<const Flag> flags, size_t program_at,
                      const std::vector<std::string>& words, Args* args);

std::span<const Command> Commands();
std::span<const Flag> GlobalFlags();
const Command* FindCommand(const std::string& name);
// The known name that is closest to a mistyped one, or "".
std::string Nearest(const std::string& typed, const std::vector<std::string>& known);

std::string HelpText();
std::string HelpText(const Command& command);
// `shell` is "bash", "zsh" or "fish"; "" for another.
std::string CompletionScript(const std::string& shell);

}  // namespace sandboxd::cli
