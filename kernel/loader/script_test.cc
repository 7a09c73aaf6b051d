#include "kernel/loader/script.h"

#include <gtest/gtest.h>

namespace sandboxd::loader {
namespace {

ScriptLine Parse(std::string_view head) {
  auto r = ParseScript(head);
  EXPECT_TRUE(r.ok() && r->has_value()) << head;
  return r.ok() && r->has_value() ? **r : ScriptLine{};
}

TEST(ScriptTest, InterpreterAndOneArgument) {
  EXPECT_EQ(Parse("#!/bin/sh\necho").interpreter, "/bin/sh");
  EXPECT_FALSE(Parse("#!/bin/sh\n").argument);
  EXPECT_EQ(Parse("#! \t/usr/bin/env  -S a b \t\nx").interpreter, "/usr/bin/env");
  EXPECT_EQ(*Parse("#! \t/usr/bin/env  -S a b \t\nx").argument, "-S a b");
  EXPECT_EQ(Parse("#!/bin/sh").interpreter, "/bin/sh") << "the file may end there";
  EXPECT_FALSE(Parse("#!/bin/sh  \n").argument);
}

TEST(ScriptTest, OtherFilesAreNoScripts) {
  EXPECT_FALSE(MUST(ParseScript("")).has_value());
  EXPECT_FALSE(MUST(ParseScript("#")).has_value());
  EXPECT_FALSE(MUST(ParseScript("\x7f"
                                "ELF"))
                   .has_value());
}

TEST(ScriptTest, NoNameIsEnoexec) {
  EXPECT_TRUE(ParseScript("#!").Is(Errno::kENOEXEC));
  EXPECT_TRUE(ParseScript("#!  \n/bin/sh").Is(Errno::kENOEXEC));
}

TEST(ScriptTest, ANameThatIsCutOffIsEnoexecAnArgumentIsCut) {
  std::string name = "#!/" + std::string(252, 'a') + "\n";
  ASSERT_EQ(name.size(), kScriptHead);
  EXPECT_TRUE(ParseScript(name).Is(Errno::kENOEXEC)) << "the newline is outside of the window";
  name.erase(5, 1);
  EXPECT_EQ(Parse(name).interpreter.size(), 252u);
  std::string argument = "#!/bin/sh " + std::string(400, 'b');
  argument.resize(kScriptHead);
  EXPECT_EQ(Parse(argument).argument->size(), kScriptHead - 1 - 10);
}

}  // namespace
}  // namespace sandboxd::loader
