#include <algorithm>

#include "client/cli/command.h"

namespace sandboxd::cli {
namespace {

const Flag* FindFlag(std::span<const Flag> flags, const std::string& name) {
  auto it = std::find_if(flags.begin(), flags.end(), [&](const Flag& f) { return name == f.name; });
  return it == flags.end() ? nullptr : &*it;
}

const Flag* FindLetter(std::span<const Flag> flags, char letter) {
  auto it =
      std::find_if(flags.begin(), flags.end(), [&](const Flag& f) { return f.letter == letter; });
  return it == flags.end() ? nullptr : &*it;
}

std::string Unknown(std::span<const Flag> flags, const std::string& word) {
  std::vector<std::string> known;
  for (const Flag& f : flags) known.push_back(std::string("--") + f.name);
  std::string nearest = Nearest(word.substr(0, word.find('=')), known);
  return "unknown flag " + word + (nearest.empty() ? "" : " (did you mean " + nearest + "?)");
}

// Insertions, deletions, substitutions, and two neighbours that changed places, each counted once.
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); i++) {
    for (size_t j = 0; j <= b.size(); j++) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      const size_t substituted = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, substituted});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::string Nearest(const std::string& typed, const std::vector<std::string>& known) {
  std::string best;
  size_t best_distance = std::max<size_t>(typed.size() / 3, 1) + 1;
  for (const std::string& name : known) {
    size_t distance = EditDistance(typed, name);
    if (distance < best_distance) {
      best_distance = distance;
      best = name;
    }
  }
  return best;
}

std::string Args::Get(const std::string& flag, const std::string& otherwise) const {
  auto it = values_.find(flag);
  return it == values_.end() || it->second.empty() ? otherwise : it->second.back();
}

std::vector<std::string> Args::All(const std::string& flag) const {
  auto it = values_.find(flag);
  return it == values_.end() ? std::vector<std::string>() : it->second;
}

std::string ParseArgs(std::span<const Flag> flags, size_t program_at,
                      const std::vector<std::string>& words, Args* args) {
  size_t i = 0;
  // Stores a flag; its value is `inline_value` or the next word.
  auto take = [&](const Flag& flag, const std::string& shown,
                  const std::string* inline_value) -> std::string {
    auto& values = args->values_[flag.name];
    if (flag.value == nullptr) {
      if (inline_value == nullptr) return "";
      if (*inline_value == "true") return "";
      if (*inline_value == "false") return args->values_.erase(flag.name), "";
      return shown + " is a switch: it takes no value \"" + *inline_value + "\"";
    }
    if (inline_value != nullptr) return values.push_back(*inline_value), "";
    if (i + 1 >= words.size()) return shown + " needs a value: " + shown + " " + flag.value;
    values.push_back(words[++i]);
    return "";
  };
  for (; i < words.size(); i++) {
    const std::string& word = words[i];
    if (word == "--") {
      args->positional_.insert(args->positional_.end(), words.begin() + i + 1, words.end());
      break;
    }
    if (word.size() < 2 || word[0] != '-') {
      args->positional_.push_back(word);
      if (args->positional_.size() <= program_at) continue;
      args->positional_.insert(args->positional_.end(), words.begin() + i + 1, words.end());
      break;
    }
    std::string error;
    if (word[1] == '-') {
      size_t equals = word.find('=');
      std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
      const Flag* flag = FindFlag(flags, name);
      if (flag == nullptr) return Unknown(flags, word);
      std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
      error = take(*flag, "--" + name, equals == std::string::npos ? nullptr : &value);
    } else {
      for (size_t at = 1; at < word.size() && error.empty(); at++) {
        const Flag* flag = FindLetter(flags, word[at]);
        std::string shown = std::string("-") + word[at];
        if (flag == nullptr) return Unknown(flags, shown);
        if (flag->value != nullptr && at + 1 < word.size()) {
          std::string value = word.substr(at + 1);
          error = take(*flag, shown, &value);
          break;
        }
        error = take(*flag, shown, nullptr);
      }
    }
    if (!error.empty()) return error;
  }
  return "";
}

}  // namespace sandboxd::cli
