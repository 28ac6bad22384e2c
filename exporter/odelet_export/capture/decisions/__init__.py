"""Python decisions on numbers while a model is traced: each is answered, and recorded where it may fall otherwise."""
