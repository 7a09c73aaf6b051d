#include <cstring>

#include "client/cli/command.h"

namespace sandboxd::cli {
namespace {

std::string Pad(std::string text, size_t width) {
  text.resize(std::max(text.size() + 2, width), ' ');
  return text;
}

std::string FlagLines(std::span<const Flag> flags) {
  std::string out;
  for (const Flag& f : flags) {
    std::string left = f.letter != '\0' ? std::string("  -") + f.letter + ", --" : "      --";
    left += f.name;
    if (f.value != nullptr) left += std::string(" ") + f.value;
    out += Pad(left, 30) + f.help + (f.repeated ? " (may be repeated)" : "") + "\n";
  }
  return out;
}

std::string Words(std::span<const Flag> flags) {
  std::string out;
  for (const Flag& f : flags) out += std::string(out.empty() ? "--" : " --") + f.name;
  return out;
}

std::string BashCompletion() {
  std::string cases, names;
  for (const Command& c : Commands()) {
    names += std::string(names.empty() ? "" : " ") + c.name;
    cases += std::string("    ") + c.name + ") words=\"" + Words(c.flags) + " --help\" ;;\n";
  }
  return "# bash completion of sandboxctl\n"
         "_sandboxctl() {\n"
         "  local current=\"${COMP_WORDS[COMP_CWORD]}\" command=\"\" i words\n"
         "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "    case \"${COMP_WORDS[i]}\" in -*) ;; *) command=\"${COMP_WORDS[i]}\"; break ;; esac\n"
         "  done\n"
         "  case \"$command\" in\n" +
         cases + "    *) words=\"" + names + " " + Words(GlobalFlags()) +
         "\" ;;\n"
         "  esac\n"
         "  case \"$command:$current\" in\n"
         "    *:-*) ;;\n"
         "    start:*|exec:*|attach:*|kill:*|wait:*|delete:*|inspect:*|ps:*|logs:*)\n"
         "      words=\"$(sandboxctl list --quiet 2>/dev/null)\" ;;\n"
         "  esac\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
         "}\n"
         "complete -o default -F _sandboxctl sandboxctl\n";
}

std::string Quoted(const char* text) {
  std::string out;
  for (const char* p = text; *p != '\0'; p++)
    out += *p == '\'' ? std::string("'\\''") : std::string(1, *p);
  return out;
}

std::string ZshCompletion() {
  std::string commands, cases;
  for (const Command& c : Commands()) {
    commands += std::string("    '") + c.name + ":" + Quoted(c.summary) + "'\n";
    cases += std::string("    ") + c.name + ") compadd -- ";
    for (const Flag& f : c.flags) cases += std::string("--") + f.name + " ";
    cases += "--help ;;\n";
  }
  return "#compdef sandboxctl\n"
         "local -a commands\n"
         "commands=(\n" +
         commands +
         ")\n"
         "if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
         "if [[ $words[CURRENT] == -* ]]; then\n"
         "  case $words[2] in\n" +
         cases +
         "  esac\n"
         "else\n"
         "  compadd -- ${(f)\"$(sandboxctl list --quiet 2>/dev/null)\"}\n"
         "  _files\n"
         "fi\n";
}

std::string FishCompletion() {
  std::string out = "# fish completion of sandboxctl\n";
  for (const Command& c : Commands()) {
    out += std::string("complete -c sandboxctl -n __fish_use_subcommand -f -a ") + c.name +
           " -d '" + Quoted(c.summary) + "'\n";
    for (const Flag& f : c.flags) {
      out += std::string("complete -c sandboxctl -n '__fish_seen_subcommand_from ") + c.name +
             "' -l " + f.name + (f.value != nullptr ? " -r" : "") + " -d '" + Quoted(f.help) +
             "'\n";
    }
  }
  return out;
}

}  // namespace

std::string HelpText() {
  std::string out =
      "sandboxctl runs untrusted Linux programs in sandboxes of sandboxd.\n\n"
      "usage: sandboxctl [--address unix:///path] [--json] COMMAND [FLAGS] [OPERANDS]\n\n"
      "Try it:\n"
      "  sandboxctl run --rootfs /srv/debian -- uname -a\n"
      "  sandboxctl run -it --rootfs /srv/debian -- bash\n\n"
      "Commands:\n";
  for (const Command& c : Commands()) out += Pad(std::string("  ") + c.name, 14) + c.summary + "\n";
  out += "\nFlags of every command:\n" + FlagLines(GlobalFlags());
  out += "\n`sandboxctl COMMAND --help` tells more about each.\n";
  return out;
}

std::string HelpText(const Command& command) {
  std::string out = std::string("usage: sandboxctl ") + command.name;
  if (!command.flags.empty()) out += " [FLAGS]";
  if (strlen(command.operands) > 0) out += std::string(" ") + command.operands;
  out += std::string("\n\n") + command.summary + ".\n";
  if (strlen(command.details) > 0) out += std::string("\n") + command.details;
  if (!command.flags.empty()) out += "\nFlags:\n" + FlagLines(command.flags);
  out += "\nFlags of every command:\n" + FlagLines(GlobalFlags());
  return out;
}

std::string CompletionScript(const std::string& shell) {
  if (shell == "bash") return BashCompletion();
  if (shell == "zsh") return ZshCompletion();
  if (shell == "fish") return FishCompletion();
  return "";
}

}  // namespace sandboxd::cli
